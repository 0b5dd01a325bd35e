//! No bytes make taking a packet out of its tunnel panic. What is refused is as it was; what comes
//! out is the end of what came in, but for padding and ECN marks.
#![no_main]

use std::sync::{Arc, LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use vswitch_datapath::buffer::{FramePool, SharedFrames};
use vswitch_datapath::port::PortIndex;
use vswitch_datapath::tunnel::decap::strip;
use vswitch_datapath::tunnel::ports::TunnelPorts;
use vswitch_datapath::tunnel::underlay::Underlay;
use vswitch_dpapi::{Endpoint, TunnelKey, TunnelKind, TunnelSpec, TunnelTos, TunnelWay};
use vswitch_packet::{geneve, vxlan};

static POOL: LazyLock<Mutex<FramePool>> = LazyLock::new(|| {
    Mutex::new(FramePool::new(
        SharedFrames::new(64, 4).expect("memory for frames"),
    ))
});

fn spec(kind: TunnelKind, udp_port: u16) -> Arc<TunnelSpec> {
    Arc::new(TunnelSpec {
        kind,
        remote: Endpoint::Flow,
        local: None,
        in_key: TunnelKey::Flow,
        out_key: TunnelKey::Flow,
        udp_port,
        csum: None,
        ttl: None,
        tos: TunnelTos::Inherit,
        dont_fragment: true,
        way: TunnelWay::Auto,
        check_source: false,
    })
}

fuzz_target!(|frame: &[u8]| {
    if frame.len() > 3000 {
        return;
    }
    let specs = [
        spec(TunnelKind::Vxlan, vxlan::PORT),
        spec(TunnelKind::Geneve, geneve::PORT),
    ];
    let ports = TunnelPorts::new((1..).map(PortIndex).zip(&specs));
    let mut pool = POOL.lock().expect("no other thread");
    let Some(mut packet) = pool.packet(frame, PortIndex(9)) else {
        return;
    };
    match strip(&mut packet, &ports, &Underlay::default(), PortIndex(9), &mut pool) {
        Err(_) => assert_eq!((packet.to_vec().as_slice(), packet.in_port.0), (frame, 9)),
        Ok(came) => {
            let inner = packet.to_vec();
            assert!(inner.len() >= 14 && inner.len() + 50 <= frame.len());
            assert_eq!(came.port, packet.in_port);
            let begin = inner.get(..14).expect("its length was asked");
            assert!(frame.windows(14).any(|part| part == begin));
        }
    }
    pool.drop_packet(packet);
});
