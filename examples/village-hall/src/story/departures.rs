//! Who leaves: one phone is lost in the meeting and its owner goes on with a new one; one member leaves the branch the day after.
//! Both phones run on and try to write.

use super::{LinkEvent, What, Writer};
use crate::protocol::Departure;

impl Writer<'_> {
    /// Somebody whose phone is not needed. Meetings of four phones have only one.
    fn spare(&mut self) -> Option<usize> {
        let held = [self.chair(), self.recorder(), self.late()];
        let is_free = |phone: &usize| !held.contains(phone) && *phone < self.cast.members;
        let free: Vec<usize> = self.members().into_iter().filter(is_free).collect();
        let index = usize::try_from(self.extras.below(free.len() as u64)).unwrap_or(0);
        free.get(index).copied()
    }

    pub(super) fn lose_a_phone(&mut self) {
        let Some(lost) = self.spare() else { return };
        let name = self.cast.people[lost].name.clone();
        self.gone.insert(lost);
        self.say(
            "20:50",
            &format!("Điện thoại của đ/c {name} bị mất; Bí thư loại máy ấy khỏi chi bộ."),
            "A phone is lost: the secretary removes it. Whoever has it now goes on writing, first without a network.",
        );
        self.links("20:50", vec![lost], LinkEvent::Cut);
        self.at("20:50", What::Remove { phone: lost, departure: Departure::Lost });
        self.attempts("20:51", lost, 2);
        self.say(
            "20:52",
            &format!("Đ/c {name} lấy máy khác; Bí thư quét mã, máy mới vào chi bộ."),
            "Its owner takes another phone, which shows its code; the secretary admits it and shows the welcome.",
        );
        self.at("20:52", What::Admit { owner: lost });
        let new = self.cast.add_phone_of(lost);
        self.holders.insert(self.cast.people[new].member.clone(), new);
        self.converge("20:53", true);
        self.links("20:53", vec![lost], LinkEvent::Heal);
        self.attempts("20:54", lost, 2);
        for time in ["20:54", "20:55"] {
            let moment = self.moment(time);
            self.extra(moment, new, false);
        }
    }

    pub(super) fn leave(&mut self) {
        let Some(left) = self.spare() else { return };
        let name = self.cast.people[left].name.clone();
        self.gone.insert(left);
        self.holders.remove(&self.cast.people[left].member.clone());
        self.say(
            "+1 08:00",
            &format!("Đ/c {name} chuyển sinh hoạt đến chi bộ khác, ra khỏi nhóm."),
            "A member moves to another branch and is removed. That phone, too, goes on writing.",
        );
        self.at("+1 08:00", What::Remove { phone: left, departure: Departure::Left });
        self.attempts("+1 09:00", left, 2);
        self.links("+1 10:00", vec![left], LinkEvent::Cut);
        self.attempts("+1 11:00", left, 2);
        self.links("+1 14:00", vec![left], LinkEvent::Heal);
        self.attempts("+1 15:00", left, 1);
        self.converge("+1 20:00", true);
    }

    /// Acts that nobody may get.
    fn attempts(&mut self, time: &str, phone: usize, times: usize) {
        for _ in 0..times {
            let moment = self.moment(time);
            self.extra(moment, phone, true);
        }
    }
}
