"""A learning switch for os-ken in OpenFlow 1.3: learns by packet-ins, then installs flows.

Two tables' worth of behaviour in one: a table-miss flow sends unknown packets here; what is known
is forwarded by a flow with an idle timeout, so that flow-removed messages come too.
"""
from os_ken.base import app_manager
from os_ken.controller import ofp_event
from os_ken.controller.handler import CONFIG_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.lib.packet import ethernet, packet
from os_ken.ofproto import ofproto_v1_3


class LearningSwitch(app_manager.OSKenApp):
    OFP_VERSIONS = [ofproto_v1_3.OFP_VERSION]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.where = {}

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def connected(self, event):
        switch = event.msg.datapath
        proto, parser = switch.ofproto, switch.ofproto_parser
        to_us = [parser.OFPActionOutput(proto.OFPP_CONTROLLER, proto.OFPCML_NO_BUFFER)]
        self.install(switch, 0, parser.OFPMatch(), to_us, 0)

    @staticmethod
    def install(switch, priority, match, actions, idle):
        proto, parser = switch.ofproto, switch.ofproto_parser
        apply = [parser.OFPInstructionActions(proto.OFPIT_APPLY_ACTIONS, actions)]
        switch.send_msg(parser.OFPFlowMod(
            datapath=switch, priority=priority, match=match, instructions=apply,
            idle_timeout=idle, flags=proto.OFPFF_SEND_FLOW_REM if idle else 0))

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def arrived(self, event):
        message = event.msg
        switch, port = message.datapath, message.match["in_port"]
        proto, parser = switch.ofproto, switch.ofproto_parser
        frame = packet.Packet(message.data).get_protocol(ethernet.ethernet)
        known = self.where.setdefault(switch.id, {})
        known[frame.src] = port
        out = known.get(frame.dst, proto.OFPP_FLOOD)
        actions = [parser.OFPActionOutput(out)]
        if out != proto.OFPP_FLOOD:
            match = parser.OFPMatch(in_port=port, eth_src=frame.src, eth_dst=frame.dst)
            self.install(switch, 1, match, actions, 30)
        switch.send_msg(parser.OFPPacketOut(
            datapath=switch, buffer_id=proto.OFP_NO_BUFFER, in_port=port, actions=actions,
            data=message.data))
