//! One frame: offload, verdict, its execution, and its record.

use super::DirectorLoop;
use crate::app::director::messages::TraceStart;
use crate::app::director::sending::Sending;
use crate::app::director::tracing::LiveTrace;
use crate::balancer::outer::Inner;
use crate::balancer::{Balancer, Reason, Verdict};
use crate::model::Millis;
use crate::wire::Packet;
use crate::wire::segment::{self, SplitPlan};
use crate::wire::virtio::{self, Offload, OffloadError};

impl DirectorLoop {
    /// Begins a trace; `None` if there are too many.
    pub(super) fn trace(&mut self, now: Millis, trace: LiveTrace) -> Option<TraceStart> {
        // A trace has to show every packet, also of carried flows.
        self.balancer.take_all_back();
        let seeds = self.balancer.seeds();
        self.tracing.begin(trace).then_some(TraceStart { now, seeds })
    }

    /// Processes one frame: offload, verdict, and its execution.
    pub(super) fn frame(&mut self, now: Millis) {
        let Ok(offload) = self.complete() else {
            return self.no_packet(now, Reason::BadOffload);
        };
        let (packet, plan) = match view(self.input.packet(), offload) {
            Ok(viewed) => viewed,
            Err(reason) => return self.no_packet(now, reason),
        };
        let inner = Inner::of(&packet, self.label_key);
        let (client, len) = (packet.source, packet.bytes().len());
        let seen = self.tracing.is_on().then(|| self.balancer.observe(&packet));
        let verdict = self.balancer.forward(now, &packet);
        let tapped = seen.is_some_and(|seen| {
            let record = self.balancer.record(now, &packet, &seen, &verdict);
            self.tracing.note(record, packet.bytes())
        });
        let split = plan.is_some() && matches!(verdict, Verdict::Tunnel(_));
        self.loop_counters.super_frames += u64::from(split);
        if tapped {
            self.output.tap(&self.input);
        }
        let mut sending = Sending {
            input: &mut self.input,
            output: &mut self.output,
            label_key: self.label_key,
            client,
            inner,
            len,
            plan: plan.as_ref(),
        };
        self.balancer.carry_out(now, &verdict, &mut sending);
        if tapped {
            self.tracing.sent(&self.output.tapped(&self.input));
        }
    }

    /// Refuses a frame that is not a packet.
    #[cold]
    fn no_packet(&mut self, now: Millis, reason: Reason) {
        self.balancer.refuse(reason);
        if self.tracing.is_on() {
            let bytes = self.input.packet();
            let record = Balancer::record_of_frame(now, bytes.len(), reason);
            if self.tracing.note(record, bytes) {
                self.tracing.sent(&[]);
            }
        }
    }

    /// Completes a packet's checksum.
    fn complete(&mut self) -> Result<Offload, OffloadError> {
        let (offload, _) = virtio::split_frame(self.input.frame())?;
        if let Offload::Checksum { start, offset } = offload {
            segment::complete_checksum(self.input.packet_mut(), start, offset)?;
        }
        Ok(offload)
    }
}

/// The packet and, for a super-frame, how it is split.
fn view(bytes: &[u8], offload: Offload) -> Result<(Packet<'_>, Option<SplitPlan>), Reason> {
    let packet = Packet::parse(bytes)?;
    match offload {
        Offload::None | Offload::Checksum { .. } => Ok((packet, None)),
        Offload::Tcp { .. } | Offload::Udp { .. } => {
            let plan = SplitPlan::new(&packet, offload).map_err(|_| Reason::BadOffload)?;
            Ok((packet.split_into(plan.on_wire()), Some(plan)))
        }
    }
}
