//! Phones that talk to each other beside the relay: links of their own, which come and go, and of which nobody may be told
//! that they are gone.

use dinh_core::replica::{HallPeer, HallWay, ReplicaError};
use dinh_proto::error::{CloseCode, SessionError};

use crate::options::below;
use crate::world::{Happening, SECOND, World};

/// A connection between two phones.
#[derive(Debug)]
pub(crate) struct HallConn {
    ends: [End; 2],
}

#[derive(Debug)]
struct End {
    phone: usize,
    life: u64,
    /// This end has not heard that the connection is gone.
    open: bool,
    /// When the last frame to this end arrives.
    last_at: u64,
    in_flight: usize,
    /// Frames to this end vanish, and nobody is told.
    vanish: bool,
}

impl End {
    fn new(phone: usize, life: u64) -> Self {
        Self { phone, life, open: true, last_at: 0, in_flight: 0, vanish: false }
    }
}

impl World {
    /// Two phones meet, or part; then the next meeting is planned.
    pub(crate) fn meet(&mut self) {
        if self.healing || self.opts.hall_gap == 0 {
            return;
        }
        let gap = self.between((1, self.opts.hall_gap));
        self.after(gap, Happening::Meet);
        let (Some(a), Some(b)) = (self.running_phone(), self.running_phone()) else { return };
        if self.phones[a].suspended
            || self.phones[b].suspended
            || self.phones[a].device == self.phones[b].device
        {
            return;
        }
        let met = self.hall.iter().find(|(_, c)| c.ends.iter().all(|e| e.phone == a || e.phone == b));
        match met.map(|(id, _)| *id) {
            Some(id) => self.part(id),
            None => self.shake_hands(a, b),
        }
    }

    fn shake_hands(&mut self, a: usize, b: usize) {
        let branch = self.truth.branch;
        let id = self.next_hall;
        let (binding, attempt) = (self.seed32(), below(&mut self.rng, 3) as usize);
        let ways = [(a, HallWay::Dialled { branch, attempt }), (b, HallWay::Answered)];
        for (p, way) in ways {
            let seed = self.seed32();
            match self.call(p, |r, now| r.handle_hall_connected(now, HallPeer(id), way, binding, seed)) {
                Some(Ok(())) => {}
                // It joined by a welcome and has met no relay yet.
                Some(Err(ReplicaError::NoKey(_))) | None => return,
                Some(Err(error)) => panic!("phone {p}: handle_hall_connected: {error}"),
            }
        }
        self.next_hall += 1;
        self.totals.meetings += 1;
        self.say(|| format!("phones {a} and {b} meet as ~{id}"));
        let ends = [a, b].map(|p| End::new(p, self.phones[p].life));
        self.hall.insert(id, HallConn { ends });
        self.pump_phone(a);
        self.pump_phone(b);
    }

    /// The link breaks: both ends are told, or one of them, or none.
    fn part(&mut self, id: u64) {
        self.say(|| format!("~{id} breaks"));
        for end in 0..2 {
            if self.chance(70) {
                let delay = self.between((1_000, 500_000));
                self.after(delay, Happening::HallGone { conn: id, end });
            }
        }
        if let Some(c) = self.hall.get_mut(&id) {
            c.ends.iter_mut().for_each(|e| e.vanish = true);
        }
    }

    /// A phone's process ended, or it sleeps: its links break.
    pub(crate) fn leave_hall(&mut self, p: usize) {
        let of_phone = |c: &HallConn| c.ends.iter().any(|e| e.phone == p && e.open);
        let left: Vec<u64> = self.hall.iter().filter(|(_, c)| of_phone(c)).map(|(id, _)| *id).collect();
        left.into_iter().for_each(|id| self.part(id));
    }

    /// After anything that a phone did: what it has to say to those it met.
    pub(crate) fn pump_hall(&mut self, p: usize) {
        let life = self.phones[p].life;
        let mine = |e: &End| e.phone == p && e.life == life && e.open;
        let ids: Vec<(u64, usize)> =
            self.hall.iter().filter_map(|(id, c)| Some((*id, c.ends.iter().position(mine)?))).collect();
        for (id, end) in ids {
            while self.hall.get(&id).is_some_and(|c| c.ends[1 - end].in_flight < self.opts.window) {
                if !self.transmit_in_hall(p, id, end) {
                    break;
                }
            }
        }
        self.take_hall_ended(p);
    }

    fn transmit_in_hall(&mut self, p: usize, id: u64, end: usize) -> bool {
        let mut frame = Vec::new();
        match self.call(p, |r, _| r.poll_hall_transmit(HallPeer(id), &mut frame)) {
            Some(Ok(true)) => {}
            Some(Ok(false)) | None => return false,
            Some(Err(error)) => panic!("phone {p}: poll_hall_transmit: {error}"),
        }
        let latency = self.between(self.opts.latency) / 4 + 500;
        self.hash(8, &[id, end as u64], &frame);
        self.totals.hall_frames += 1;
        let now = self.now;
        let Some(to) = self.hall.get_mut(&id).map(|c| &mut c.ends[1 - end]) else { return false };
        to.in_flight += 1;
        if !to.vanish {
            to.last_at = (now + latency).max(to.last_at);
            let at = to.last_at;
            self.at(at, Happening::HallFrame { conn: id, end: 1 - end, frame });
        }
        true
    }

    pub(crate) fn frame_in_hall(&mut self, id: u64, end: usize, frame: &[u8]) {
        let Some(to) = self.hall.get_mut(&id).map(|c| &mut c.ends[end]) else { return };
        if to.vanish || !to.open {
            return;
        }
        to.in_flight -= 1;
        let (p, life) = (to.phone, to.life);
        if self.phones[p].life != life || self.phones[p].replica.is_none() || self.phones[p].suspended {
            return;
        }
        self.hash(9, &[id], &[]);
        if let Some(Err(error)) = self.call(p, |r, now| r.handle_hall_frame(now, HallPeer(id), frame)) {
            panic!("phone {p}: handle_hall_frame: {error}");
        }
        self.pump_phone(p);
        // There is room on the way again.
        if let Some(from) = self.hall.get(&id).map(|c| c.ends[1 - end].phone) {
            self.pump_hall(from);
        }
    }

    /// An end hears that the connection is gone.
    pub(crate) fn hall_gone(&mut self, id: u64, end: usize) {
        let Some(c) = self.hall.get_mut(&id) else { return };
        let was_open = std::mem::take(&mut c.ends[end].open);
        let (p, life) = (c.ends[end].phone, c.ends[end].life);
        if c.ends.iter().all(|e| !e.open) {
            self.hall.remove(&id);
        }
        if was_open && self.phones[p].life == life {
            let Some(replica) = &mut self.phones[p].replica else { return };
            replica.handle_hall_disconnected(HallPeer(id));
            self.pump_phone(p);
        }
    }

    /// Conversations that a phone ended: its last words go out, then the connection is closed.
    fn take_hall_ended(&mut self, p: usize) {
        while let Some((HallPeer(id), error)) =
            self.phones[p].replica.as_mut().and_then(dinh_core::replica::Replica::poll_hall_ended)
        {
            self.say(|| format!("phone {p}: ~{id} ended: {error}"));
            let stranger = matches!(
                error,
                SessionError::ClosedHere(CloseCode::Stranger)
                    | SessionError::ClosedByPeer { code: CloseCode::Stranger, .. }
            );
            let fine = match &error {
                // They share no key, or it was the wrong one of several.
                SessionError::BadHandshake | SessionError::TimedOut => true,
                SessionError::ClosedByPeer { code: CloseCode::TimedOut, .. } => true,
                // One of them was removed, or was admitted where the other one was not.
                _ => stranger,
            };
            assert!(fine, "phone {p}: honest phones fell out: {error}");
            let mine = |e: &End| e.phone == p;
            let Some(end) = self.hall.get(&id).and_then(|c| c.ends.iter().position(mine)) else { continue };
            while self.transmit_in_hall(p, id, end) {}
            if let Some(replica) = &mut self.phones[p].replica {
                replica.handle_hall_disconnected(HallPeer(id));
            }
            let Some(c) = self.hall.get_mut(&id) else { continue };
            c.ends[end].open = false;
            let (at, told) = (c.ends[1 - end].last_at, !c.ends[1 - end].vanish);
            if told {
                self.at(at, Happening::HallGone { conn: id, end: 1 - end });
            }
        }
    }

    /// Everybody goes home: what is still to be said, is said by the relay.
    pub(crate) fn close_hall(&mut self) {
        let ids: Vec<u64> = self.hall.keys().copied().collect();
        for id in ids {
            for end in 0..2 {
                self.after(SECOND, Happening::HallGone { conn: id, end });
            }
            if let Some(c) = self.hall.get_mut(&id) {
                c.ends.iter_mut().for_each(|e| e.vanish = true);
            }
        }
    }
}
