//! A TCP segment of a connection with an entry: which connection it belongs to, and what it
//! changes.
//!
//! Every segment is forwarded. But only one that [fits](super::position) the client's position
//! changes the state: a reset, FIN or acknowledgement with other numbers is not the client's, and
//! both ends ignore it (RFC 5961).

use std::time::Duration;

use super::Balancer;
use super::flow::Key;
use super::position::{Position, SegmentFields};
use super::table::{Handle, Marks};
use super::tcp::ConnState;
use crate::model::{Millis, RealId};

/// For how long after a client's reset its segments without new data count as sent before it: on
/// another path, or from another processor of the client. If they go on for longer, the client has
/// not sent the reset.
pub(super) const LATE: Duration = Duration::from_secs(1);

/// An entry of the connection table, with its state and real server.
pub(super) type Found = (Handle, ConnState, RealId);

/// A segment's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentOwner {
    pub(super) found: Found,
    /// The state after the segment.
    pub(super) after: ConnState,
}

impl Balancer {
    /// The connection that a segment belongs to; the segment does not open one. Advances its
    /// position.
    #[inline(always)]
    pub(super) fn owner(
        &mut self,
        now: Millis,
        key: &Key,
        found: Found,
        segment: &SegmentFields,
    ) -> SegmentOwner {
        let (handle, state, _) = found;
        let rare = state.reusable() || state == ConnState::SynRecv;
        if rare || !self.tables.connections.follow(handle, segment) {
            return self.owner_of_rare(now, key, found, segment);
        }
        SegmentOwner { found, after: state.next(segment.flags) }
    }

    /// As [`Self::owner`], for a segment that does not fit, or whose connection is in its handshake
    /// or seems to have ended.
    #[cold]
    fn owner_of_rare(
        &mut self,
        now: Millis,
        key: &Key,
        found: Found,
        segment: &SegmentFields,
    ) -> SegmentOwner {
        let (handle, state, _) = found;
        let Some(entry) = self.tables.connections.entry(handle) else {
            return SegmentOwner { found, after: state };
        };
        let (position, marks) = (entry.position(), entry.marks());
        if position.fits(segment) {
            self.tables.connections.follow(handle, segment);
            let after = match state {
                ConnState::SynRecv => self.after_its_syn(handle, marks, segment),
                _ if state.reusable() => self.after_its_end(now, found, position, marks, segment),
                _ => state.next(segment.flags),
            };
            return SegmentOwner { found, after };
        }
        if marks.has(Marks::HAS_FORMER)
            && !key.is_former()
            && let Some(former) = self.fitting_former(key, segment)
        {
            return self.owner(now, &key.former(), former, segment);
        }
        // The first segment of a flow that was adopted may have been forged. The entry is unproven,
        // so any other segment that looks like a connection's replaces it.
        let flags = segment.flags;
        let goes_on = flags.ack() && !flags.rst() && !flags.fin() && !flags.syn();
        if state.unproven() && !position.opening && goes_on {
            self.tables.connections.set_position(handle, Position::after(segment));
            return SegmentOwner { found, after: state.next(flags) };
        }
        SegmentOwner { found, after: state }
    }

    /// The former connection with this key, if it exists and the segment fits it.
    fn fitting_former(&mut self, key: &Key, segment: &SegmentFields) -> Option<Found> {
        let former = self.connection(&key.former())?;
        let fits = self.tables.connections.entry(former.0)?.position().fits(segment);
        fits.then_some(former)
    }

    /// The state after a fitting segment that follows a client's SYN. A reset may have overtaken
    /// the acknowledgement that ends the handshake; a client that goes on has not sent that reset.
    fn after_its_syn(
        &mut self,
        handle: Handle,
        marks: Marks,
        segment: &SegmentFields,
    ) -> ConnState {
        let flags = segment.flags;
        let reset_before = marks.has(Marks::RESET);
        if flags.rst() != reset_before {
            self.tables.connections.mark(handle, Marks::RESET, flags.rst());
        }
        let late = reset_before && flags.only_acknowledges() && !segment.has_data();
        if late { ConnState::SynRecv } else { ConnState::SynRecv.next(flags) }
    }

    /// The state after a fitting segment of a connection whose client has sent a FIN or a reset. If
    /// the client goes on as if it had not, the FIN or reset was forged: new data restores the
    /// connection. So do acknowledgements after a reset, except [`LATE`] ones. Those after a FIN,
    /// beyond the one that ends every connection, show that the client still receives.
    fn after_its_end(
        &mut self,
        now: Millis,
        (handle, state, _): Found,
        position: Position,
        marks: Marks,
        segment: &SegmentFields,
    ) -> ConnState {
        let flags = segment.flags;
        if !flags.ack() || flags.rst() || flags.fin() || flags.syn() {
            return state.next(flags);
        }
        if position.is_extended_by(segment) {
            self.tables.connections.mark(handle, Marks::TALKS, false);
            self.tables.connections.mark(handle, Marks::HALF_CLOSED, false);
            return ConnState::Established;
        }
        if state == ConnState::Close {
            let late = self.follows_soon(now, handle, state, LATE);
            return if late { state } else { state.next(flags) };
        }
        let mark = if marks.has(Marks::TALKS) { Marks::HALF_CLOSED } else { Marks::TALKS };
        self.tables.connections.mark(handle, mark, true);
        state.next(flags)
    }
}
