//! News of devices, from all the namespaces that the kernel lets us hear.
//!
//! Only a hint: a message says that something about a device of this number has changed somewhere.
//! What is true now is asked for afresh ([`super::netlink`]), so a lost or reordered message does no
//! harm, and when the kernel had to drop some, everything is looked at again.
//!
//! News of another namespace come as soon as that namespace has a number in ours, which the kernel
//! gives it by itself when a device of ours moves there
//! ([`super::netlink::Netlink::number_namespace`] asks for it otherwise).

use std::io;

use futures::StreamExt;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::proto::Connection;
use rtnetlink::sys::{AsyncSocket, SocketAddr};

/// Bytes of news that may wait for us: some thousand devices coming at once.
const RECEIVE_SIZE: i32 = 4 << 20;

/// Something has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// About the device of this number, in some namespace: itself, or its addresses.
    Device(u32),
    /// The device of this number has left for another namespace.
    Moved(u32),
    /// News were lost, or a namespace has ended: about anything.
    Everything,
}

type Messages =
    futures::channel::mpsc::UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

/// The stream of news.
#[derive(Debug)]
pub struct Watch {
    messages: Messages,
}

impl Watch {
    /// Listens from now on, in the namespace of the calling thread, inside a tokio runtime.
    pub fn start() -> io::Result<Self> {
        let (mut connection, _, messages) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Nsid,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ])?;
        listen_wide(&mut connection);
        tokio::spawn(connection);
        Ok(Self { messages })
    }

    /// Waits for the next piece of news.
    pub async fn next(&mut self) -> News {
        loop {
            let Some((message, _)) = self.messages.next().await else {
                // The socket has failed for good. Without news the periodic look has to do.
                return std::future::pending().await;
            };
            match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                    return News::Device(link.header.index);
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => {
                    let is_move = |attribute: &_| matches!(attribute, LinkAttribute::NewNetnsId(_));
                    return if link.attributes.iter().any(is_move) {
                        News::Moved(link.header.index)
                    } else {
                        News::Device(link.header.index)
                    };
                }
                NetlinkPayload::InnerMessage(
                    RouteNetlinkMessage::NewAddress(address)
                    | RouteNetlinkMessage::DelAddress(address),
                ) => return News::Device(address.header.index),
                // A namespace that ends takes its devices with it and says nothing of them.
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNsId(_))
                | NetlinkPayload::Overrun(_) => return News::Everything,
                _ => {}
            }
        }
    }
}

fn listen_wide<S: AsyncSocket>(connection: &mut Connection<RouteNetlinkMessage, S>) {
    let socket = connection.socket_mut().socket_mut();
    // Either may be refused by an old kernel; news of our own namespace come all the same.
    if let Err(error) = socket.set_listen_all_namespaces(true) {
        tracing::warn!(%error, "no news of devices in other namespaces");
    }
    if let Err(error) = socket.set_rx_buf_sz(RECEIVE_SIZE) {
        tracing::debug!(%error, "small buffer for news of devices");
    }
}
