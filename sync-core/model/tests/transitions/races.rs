//! Steps by people who do not know of each other, by the rule of 2.11: one end where one side carries a vote, an answer or what
//! happened in the hall; otherwise disputed, and no seal, until one who may settles it.

use dinh_core::replica::ReplicaError;
use dinh_model::feedback::state::State as Fs;
use dinh_model::lifecycle::{NotYet, RESOLVE, Status};
use dinh_model::minutes::state::State as Ms;
use dinh_model::resolution::state::State as Rs;
use dinh_model::review::state::State as Ws;
use dinh_model::seal::{self, NewSeal};

use crate::common::*;
use crate::feedback::F;
use crate::minutes::M;
use crate::resolution::R;
use crate::review::W;
use crate::village::{RECORDER, SECRETARY, Village};

#[test]
fn of_minutes() {
    const HELD: &[(usize, &str)] =
        &[(SECRETARY, "open"), (RECORDER, "read_back"), (SECRETARY, "adopted"), (SECRETARY, "signed")];
    const ARCHIVED: &[(usize, &str)] = &[
        (SECRETARY, "open"),
        (RECORDER, "read_back"),
        (SECRETARY, "adopted"),
        (SECRETARY, "signed"),
        (SECRETARY, "archived"),
    ];
    let row = |from, one, other, to| Race { from, one, other, to };
    let table = [
        // A meeting that was held was held.
        row(Ms::Convened, &[(SECRETARY, "open")], (DEPUTY, "postponed"), &[Ms::Open]),
        row(Ms::Convened, &[(SECRETARY, "open")], (DEPUTY, "cancelled"), &[Ms::Open]),
        row(Ms::Convened, HELD, (DEPUTY, "postponed"), &[Ms::Signed]),
        row(Ms::Convened, ARCHIVED, (DEPUTY, "cancelled"), &[Ms::Archived]),
        // A vote holds against a correction that did not know of it.
        row(Ms::ReadBack, &[(SECRETARY, "adopted")], (RECORDER, "correction"), &[Ms::Adopted]),
        row(
            Ms::ReadBack,
            &[(SECRETARY, "adopted"), (SECRETARY, "signed")],
            (RECORDER, "correction"),
            &[Ms::Signed],
        ),
        // The same by two is once.
        row(Ms::Convened, &[(SECRETARY, "open")], (DEPUTY, "open"), &[Ms::Open]),
        row(
            Ms::Convened,
            &[(SECRETARY, "postponed")],
            (DEPUTY, "cancelled"),
            &[Ms::Postponed, Ms::Cancelled],
        ),
        row(Ms::Planned, &[(SECRETARY, "convened")], (DEPUTY, "cancelled"), &[Ms::Convened, Ms::Cancelled]),
        row(Ms::Planned, &[(SECRETARY, "convened")], (DEPUTY, "postponed"), &[Ms::Convened, Ms::Postponed]),
    ];
    races::<M>(&table, SECRETARY, &[RECORDER, COMMITTEE, MEMBER]);
}

#[test]
fn of_resolutions() {
    const ADOPTED: &[(usize, &str)] = &[(SECRETARY, "tabled"), (SECRETARY, "adopted")];
    const ISSUED: &[(usize, &str)] = &[(SECRETARY, "tabled"), (SECRETARY, "adopted"), (SECRETARY, "issued")];
    const DONE: &[(usize, &str)] = &[
        (SECRETARY, "tabled"),
        (SECRETARY, "adopted"),
        (SECRETARY, "issued"),
        (SECRETARY, "in_force"),
        (SECRETARY, "completed"),
    ];
    let row = |from, one, other, to| Race { from, one, other, to };
    let table = [
        // Adopted wins because it carries a vote; so does all that follows from it.
        row(Rs::Consulting, ADOPTED, (COMMITTEE, "withdrawn"), &[Rs::Adopted]),
        row(Rs::Consulting, ISSUED, (COMMITTEE, "withdrawn"), &[Rs::Issued]),
        row(Rs::Consulting, DONE, (COMMITTEE, "withdrawn"), &[Rs::Completed]),
        row(Rs::Consulting, ISSUED, (COMMITTEE, "drafting"), &[Rs::Issued]),
        row(Rs::Tabled, &[(SECRETARY, "adopted")], (DEPUTY, "deferred"), &[Rs::Adopted]),
        row(
            Rs::Tabled,
            &[(SECRETARY, "adopted"), (SECRETARY, "issued")],
            (DEPUTY, "deferred"),
            &[Rs::Issued],
        ),
        row(Rs::Tabled, &[(SECRETARY, "rejected")], (DEPUTY, "deferred"), &[Rs::Rejected]),
        // Two different ends.
        row(Rs::InForce, &[(SECRETARY, "superseded")], (COMMITTEE, "completed"), &[Rs::Superseded]),
        row(Rs::InForce, &[(SECRETARY, "revoked")], (COMMITTEE, "completed"), &[Rs::Revoked]),
        row(Rs::InForce, &[(SECRETARY, "superseded")], (DEPUTY, "revoked"), &[Rs::Superseded, Rs::Revoked]),
        row(Rs::Tabled, &[(SECRETARY, "adopted")], (DEPUTY, "rejected"), &[Rs::Adopted, Rs::Rejected]),
        row(
            Rs::Tabled,
            &[(SECRETARY, "adopted"), (SECRETARY, "issued")],
            (DEPUTY, "rejected"),
            &[Rs::Rejected, Rs::Issued],
        ),
        row(Rs::Consulting, &[(SECRETARY, "tabled")], (COMMITTEE, "withdrawn"), &[Rs::Tabled, Rs::Withdrawn]),
        row(Rs::Consulting, &[(SECRETARY, "tabled")], (COMMITTEE, "drafting"), &[Rs::Drafting, Rs::Tabled]),
        row(
            Rs::Drafting,
            &[(SECRETARY, "committee_review")],
            (COMMITTEE, "withdrawn"),
            &[Rs::CommitteeReview, Rs::Withdrawn],
        ),
        row(
            Rs::Consulting,
            &[(SECRETARY, "withdrawn")],
            (COMMITTEE, "drafting"),
            &[Rs::Drafting, Rs::Withdrawn],
        ),
    ];
    races::<R>(&table, DEPUTY, &[RECORDER, COMMITTEE, MEMBER]);
}

#[test]
fn of_feedback() {
    const ANSWERED: &[(usize, &str)] =
        &[(COMMITTEE, "acknowledged"), (COMMITTEE, "in_progress"), (COMMITTEE, "answered")];
    let row = |from, one, other, to| Race { from, one, other, to };
    let table = [
        // Taken back is only what nobody had read.
        row(Fs::Submitted, &[(COMMITTEE, "acknowledged")], (MEMBER, "withdrawn"), &[Fs::Acknowledged]),
        row(
            Fs::Submitted,
            &[(COMMITTEE, "acknowledged"), (COMMITTEE, "declined")],
            (MEMBER, "withdrawn"),
            &[Fs::Declined],
        ),
        row(Fs::Submitted, ANSWERED, (MEMBER, "withdrawn"), &[Fs::Answered]),
        // An answer holds.
        row(Fs::InProgress, &[(COMMITTEE, "answered")], (SECRETARY, "forwarded"), &[Fs::Answered]),
        row(
            Fs::InProgress,
            &[(COMMITTEE, "answered"), (COMMITTEE, "closed")],
            (SECRETARY, "forwarded"),
            &[Fs::Closed],
        ),
        row(
            Fs::Acknowledged,
            &[(COMMITTEE, "in_progress"), (COMMITTEE, "answered"), (COMMITTEE, "closed")],
            (SECRETARY, "declined"),
            &[Fs::Closed],
        ),
        row(Fs::Acknowledged, &[(COMMITTEE, "forwarded")], (SECRETARY, "in_progress"), &[Fs::Forwarded]),
        row(
            Fs::Acknowledged,
            &[(COMMITTEE, "in_progress")],
            (SECRETARY, "declined"),
            &[Fs::InProgress, Fs::Declined],
        ),
        row(
            Fs::Acknowledged,
            &[(COMMITTEE, "forwarded")],
            (SECRETARY, "declined"),
            &[Fs::Forwarded, Fs::Declined],
        ),
        row(Fs::Answered, &[(COMMITTEE, "closed")], (MEMBER, "reopened"), &[Fs::Reopened, Fs::Closed]),
    ];
    races::<F>(&table, COMMITTEE, &[MEMBER, AWAY]);
}

#[test]
fn of_reviews() {
    let row = |from, one, other, to| Race { from, one, other, to };
    use Ws::{Commented, Requested, Returned};
    let table = [
        // The stricter one is heard; a new round begins again.
        row(Requested(1), &[(REVIEWER, "cleared")], (OTHER_REVIEWER, "returned"), &[Returned(1)]),
        row(Requested(1), &[(REVIEWER, "cleared")], (OTHER_REVIEWER, "commented"), &[Commented(1)]),
        row(Requested(1), &[(REVIEWER, "returned")], (OTHER_REVIEWER, "commented"), &[Returned(1)]),
        row(Requested(1), &[(REVIEWER, "returned")], (COMMITTEE, "requested"), &[Requested(2)]),
        row(Requested(1), &[(SECRETARY, "requested")], (REVIEWER, "cleared"), &[Requested(2)]),
    ];
    races::<W>(&table, REVIEWER, &[]);
}

fn seal_it(v: &mut Village, at: &Place) -> Result<(), ReplicaError> {
    let heads = v.phones[SECRETARY].document(&at.doc, |d| d.heads()).unwrap();
    let name = at.doc.to_string();
    let schema = &dinh_model::resolution::SCHEMA;
    let new = NewSeal { document: &name, schema, heads: &heads, number: Some("23"), previous: &[] };
    v.try_act(SECRETARY, &at.doc, |e, me| seal::seal(e, me, &new).map(|_| ()))
}

#[test]
fn nothing_is_sealed_while_it_is_disputed() {
    let mut v = village();
    let row = Race {
        from: Rs::Tabled,
        one: &[(SECRETARY, "adopted"), (SECRETARY, "issued")],
        other: (DEPUTY, "rejected"),
        to: &[Rs::Rejected, Rs::Issued],
    };
    let (at, [issued, _]) = race::<R>(&mut v, &row);
    for i in 0..PHONES {
        assert_eq!(v.resolution(i, &at.doc).may_seal(), Err(NotYet::Disputed), "phone {i}");
    }
    R::write(&mut v, DEPUTY, &at, RESOLVE, vec![("choose", issued.into())]).unwrap();
    v.sync();
    for i in 0..PHONES {
        assert_eq!(v.resolution(i, &at.doc).may_seal(), Ok(()), "phone {i}");
    }
    seal_it(&mut v, &at).unwrap();
    v.sync();
    for i in 0..PHONES {
        assert_eq!(v.resolution(i, &at.doc).may_seal(), Err(NotYet::Sealed), "phone {i}");
    }
    // Before they are adopted, and where the end is disputed, minutes are not sealed either.
    let at = at_state::<M>(&mut v, Ms::ReadBack);
    let is = |state: &str| Err(NotYet::State { is: state.to_owned() });
    assert_eq!(v.minutes(AWAY, &at.doc).may_seal(), is("ReadBack"));
    step::<M>(&mut v, SECRETARY, &at, "adopted");
    v.sync();
    assert_eq!(v.minutes(AWAY, &at.doc).may_seal(), Ok(()));
    let row = Race {
        from: Ms::Convened,
        one: &[(SECRETARY, "postponed")],
        other: (DEPUTY, "cancelled"),
        to: &[Ms::Postponed, Ms::Cancelled],
    };
    let (at, _) = race::<M>(&mut v, &row);
    assert_eq!(v.minutes(AWAY, &at.doc).may_seal(), Err(NotYet::Disputed));
    let at = at_state::<R>(&mut v, Rs::Adopted);
    assert_eq!(v.resolution(AWAY, &at.doc).may_seal(), is("Adopted"));
}

#[test]
fn two_who_settle_it_differently_dispute_it_again() {
    let mut v = village();
    let row = Race {
        from: Rs::Tabled,
        one: &[(SECRETARY, "adopted")],
        other: (DEPUTY, "rejected"),
        to: &[Rs::Adopted, Rs::Rejected],
    };
    let (at, [adopted, rejected]) = race::<R>(&mut v, &row);
    v.leave(DEPUTY);
    R::write(&mut v, SECRETARY, &at, RESOLVE, vec![("choose", adopted.into())]).unwrap();
    let other = R::write(&mut v, DEPUTY, &at, RESOLVE, vec![("choose", rejected.into())]).unwrap();
    v.come_back(DEPUTY);
    v.sync();
    let Status::Disputed(among) = all_say::<R>(&mut v, &at) else { panic!("not disputed") };
    assert_eq!(among.len(), 2);
    R::write(&mut v, SECRETARY, &at, RESOLVE, vec![("choose", other.into())]).unwrap();
    v.sync();
    assert_eq!(all_say::<R>(&mut v, &at), Status::In(Rs::Rejected));
}
