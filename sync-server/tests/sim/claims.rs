//! What nodes claim, held against what is: that a cursor stands for items on the disk, that *synced* means in the relay's log, and that
//! checksums, the last line of defence, had nothing to do.

use crate::net::Said;
use crate::world::World;

impl World {
    /// Items that the relay gave in the order of its log: before the phone's cursor passes one, it must be on the phone's disk. The spy in
    /// its store looks.
    pub(crate) fn note_passed(&self, conn: u64, p: usize, said: &Said) {
        let phone = &self.phones[p];
        self.ledger.borrow_mut().note_passed(conn, phone.device, phone.may_fork, &said.passed);
    }

    /// A phone says that everything of it is in the relay's log.
    pub(crate) fn check_synced(&mut self, p: usize) {
        if self.phones.iter().any(|phone| phone.may_fork) || !self.truth.cut.is_empty() {
            // Of what two copies of a phone made, one may give up what the other knows; who is put out gives up, too.
            return;
        }
        let device = self.phones[p].device;
        let mut ledger = self.ledger.borrow_mut();
        let Some(own) = ledger.unlogged.get_mut(&device) else { return };
        own.retain(|id| !self.truth.ever_logged.contains(id));
        if let Some(id) = own.first() {
            panic!("synced: phone {p} says that all is synced, and {id:?} was never in the log");
        }
    }

    /// A checksum finds what some other bug lost. Where nothing went back in time and nobody put in what is wrong, there is nothing to
    /// find.
    pub(crate) fn check_checksums_idle(&self) {
        let faults = &self.opts.faults;
        let went_back = faults.relay_restore + faults.phone_restore + faults.twin > 0;
        // A disk that fails between a phone's cursor and the acknowledgement of what it sent itself makes it ask once, for nothing.
        let disks = faults.phone_disk + faults.phone_full > 0;
        // What phones gave each other makes one ask, too, for nothing.
        let met = self.opts.hall_gap > 0;
        if !went_back && !disks && !met && !self.opts.hostile && self.opts.removals == 0 {
            let found = self.totals.mismatches;
            // A snapshot whose key did not come with it is dropped, and its runs are asked for by the checksum.
            let due = self.totals.refused;
            assert!(
                found <= due,
                "checksums: a phone that received everything in order lacked something {found} times"
            );
        }
    }
}
