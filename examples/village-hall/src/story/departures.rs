//! Who leaves in the middle of the meeting: one phone is lost and its owner goes on with a new one, one member leaves the
//! branch. Both phones run on and try to write.

use super::{LinkEvent, What, Writer};
use crate::action::Action;
use crate::protocol::Departure;

impl Writer<'_> {
    /// Between the return after the cut and the votes. Meetings of two or three phones have nobody to spare, those of four only one.
    pub(super) fn departures(&mut self) {
        let held = [self.cast.phone_of("m01"), self.cast.phone_of("m04"), self.cast.late_phone()];
        let mut free: Vec<usize> =
            (0..self.cast.people.len()).filter(|phone| !held.contains(phone)).collect();
        let mut pick = |writer: &mut Self| {
            let index = usize::try_from(writer.extras.below(free.len() as u64)).unwrap_or(0);
            (index < free.len()).then(|| free.swap_remove(index))
        };
        let (lost, left) = (pick(self), pick(self));
        if let Some(lost) = lost {
            self.lose(lost);
        }
        if let Some(left) = left {
            self.leave(left);
        }
    }

    fn lose(&mut self, lost: usize) {
        let name = self.cast.people[lost].name.clone();
        self.gone.insert(lost);
        self.say(
            "20:50",
            &format!("Điện thoại của đ/c {name} bị mất; Bí thư loại máy ấy khỏi chi bộ."),
            "A phone is lost: the secretary removes it. Whoever has it now goes on writing, first without a network.",
        );
        self.at("20:50", What::Link { phones: vec![lost], event: LinkEvent::Cut });
        self.at("20:50", What::Remove { phone: lost, departure: Departure::Lost });
        self.attempts("20:51", lost, 2);
        self.say(
            "20:52",
            &format!("Đ/c {name} lấy máy khác; Bí thư quét mã, máy mới vào chi bộ."),
            "Its owner takes another phone, which shows its code; the secretary admits it and shows the welcome.",
        );
        self.at("20:52", What::Admit { owner: lost });
        let new = self.cast.add_phone_of(lost);
        self.at("20:53", What::Converge { except: vec![self.cast.late_phone()] });
        self.at("20:53", What::Link { phones: vec![lost], event: LinkEvent::Heal });
        self.attempts("20:54", lost, 2);
        for time in ["20:54", "20:57"] {
            let action = self.extras.draw(&self.cast, self.fixtures, new);
            self.edit(time, new, action);
        }
    }

    fn leave(&mut self, left: usize) {
        let name = self.cast.people[left].name.clone();
        self.gone.insert(left);
        self.say(
            "20:55",
            &format!("Đ/c {name} chuyển sinh hoạt đến chi bộ khác, ra khỏi nhóm."),
            "A member moves to another branch and is removed. That phone, too, goes on writing.",
        );
        self.at("20:55", What::Remove { phone: left, departure: Departure::Left });
        self.attempts("20:56", left, 2);
        self.at("20:57", What::Link { phones: vec![left], event: LinkEvent::Cut });
        self.attempts("20:58", left, 2);
        self.at("21:02", What::Link { phones: vec![left], event: LinkEvent::Heal });
        self.attempts("21:03", left, 1);
    }

    /// Edits that nobody may get.
    fn attempts(&mut self, time: &str, phone: usize, times: usize) {
        for _ in 0..times {
            let action = self.extras.draw(&self.cast, self.fixtures, phone);
            debug_assert!(
                matches!(action, Action::Append { .. } | Action::Insert { .. }),
                "has a mark of its own"
            );
            self.edit(time, phone, action);
        }
    }
}
