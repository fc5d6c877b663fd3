//! Connections of which nobody knows yet whose they are: how many there may be, and who gives way to whom.
//!
//! A connection stands here from the moment the system hands it over until its device has greeted, or it ends. They are
//! limited in all and for each address. A new one that finds no room takes the place of the oldest, if that had
//! its time; else it is turned away and its device comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dinh_proto::limits;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How many connections may be open whose device has not greeted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GreetingLimits {
    /// In all.
    pub total: usize,
    /// From one address; of IPv6 its first 64 bits count, since a customer gets as many.
    pub per_address: usize,
    /// How long one may stand in the way of a new one.
    pub grace: Duration,
    /// Addresses of reverse proxies: behind them everyone has the same address, so only `total` counts. This machine's
    /// own are among them at first.
    pub proxies: BTreeSet<IpAddr>,
}

impl Default for GreetingLimits {
    fn default() -> Self {
        Self {
            total: limits::GREETING_CONNECTIONS_MAX,
            per_address: limits::GREETING_CONNECTIONS_PER_ADDRESS_MAX,
            grace: limits::GREETING_GRACE,
            proxies: [IpAddr::from([127, 0, 0, 1]), IpAddr::V6(Ipv6Addr::LOCALHOST)].into(),
        }
    }
}

/// Why a connection is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    Total,
    Address,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Doorstep {
    limits: GreetingLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    /// By number, so the oldest first.
    visits: BTreeMap<u64, Entry>,
    by_address: BTreeMap<IpAddr, BTreeSet<u64>>,
}

#[derive(Debug)]
struct Entry {
    address: Option<IpAddr>,
    since: Instant,
    give_way: Arc<Notify>,
}

/// One connection's place. Given up when it is dropped, or by [`Visit::leave`].
#[derive(Debug)]
pub(crate) struct Visit {
    doorstep: Arc<Doorstep>,
    number: u64,
    give_way: Arc<Notify>,
}

impl Doorstep {
    pub(crate) fn new(limits: GreetingLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// Takes a place for a new connection.
    pub(crate) fn enter(self: &Arc<Self>, from: IpAddr, now: Instant) -> Result<Visit, NoRoom> {
        let address = Some(from.to_canonical()).filter(|a| !self.limits.proxies.contains(a)).map(network);
        let mut state = self.lock();
        let of_address = address.and_then(|a| state.by_address.get(&a));
        if of_address.is_some_and(|numbers| numbers.len() >= self.limits.per_address) {
            let oldest = of_address.and_then(|numbers| numbers.first().copied());
            self.make_room(&mut state, oldest, now).ok_or(NoRoom::Address)?;
        }
        if state.visits.len() >= self.limits.total {
            let oldest = state.visits.keys().next().copied();
            self.make_room(&mut state, oldest, now).ok_or(NoRoom::Total)?;
        }
        state.last += 1;
        let (number, give_way) = (state.last, Arc::new(Notify::new()));
        state.visits.insert(number, Entry { address, since: now, give_way: give_way.clone() });
        if let Some(address) = address {
            state.by_address.entry(address).or_default().insert(number);
        }
        Ok(Visit { doorstep: self.clone(), number, give_way })
    }

    /// Ends the oldest if it had its time. Its place is free at once, though its socket may take a moment.
    fn make_room(&self, state: &mut State, oldest: Option<u64>, now: Instant) -> Option<()> {
        let entry = state.visits.get(&oldest?)?;
        if now.saturating_duration_since(entry.since) < self.limits.grace {
            return None;
        }
        entry.give_way.notify_one();
        state.remove(oldest?);
        Some(())
    }

    /// The state is whole after every step, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove(&mut self, number: u64) {
        let Some(address) = self.visits.remove(&number).and_then(|entry| entry.address) else { return };
        if let Some(numbers) = self.by_address.get_mut(&address) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }
}

impl Visit {
    /// The device greeted: its connection counts here no more.
    pub(crate) fn leave(&self) {
        self.doorstep.lock().remove(self.number);
    }

    /// Returns if the place was given to another. Once.
    pub(crate) async fn asked_to_go(&self) {
        self.give_way.notified().await;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.leave();
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doorstep(total: usize, per_address: usize) -> Arc<Doorstep> {
        Doorstep::new(GreetingLimits { total, per_address, ..GreetingLimits::default() })
    }

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, last])
    }

    #[tokio::test(start_paused = true)]
    async fn ten_of_an_address_and_five_hundred_in_all_and_whoever_leaves_makes_room() {
        let doorstep = Doorstep::new(GreetingLimits::default());
        let now = Instant::now();
        let mut visits: Vec<Visit> = (0..10).map(|_| doorstep.enter(v4(1), now).unwrap()).collect();
        assert_eq!(doorstep.enter(v4(1), now).unwrap_err(), NoRoom::Address);
        // Others are not affected, and a device that greeted counts no more, even while it is connected.
        visits.push(doorstep.enter(v4(2), now).unwrap());
        visits[3].leave();
        visits.push(doorstep.enter(v4(1), now).unwrap());
        assert_eq!(doorstep.enter(v4(1), now).unwrap_err(), NoRoom::Address);
        drop(visits.remove(0));
        visits.push(doorstep.enter(v4(1), now).unwrap());
        visits.clear();
        assert!(doorstep.lock().visits.is_empty() && doorstep.lock().by_address.is_empty());

        let from = |i: u16| IpAddr::from([198, 51, (i / 10) as u8, 1]);
        visits.extend((0..500).map(|i| doorstep.enter(from(i), now).unwrap()));
        assert_eq!(doorstep.enter(v4(1), now).unwrap_err(), NoRoom::Total);
        drop(visits.pop());
        assert!(doorstep.enter(v4(1), now).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_had_its_time_gives_way_and_who_had_not_does_not() {
        let doorstep = doorstep(4, 2);
        let first = doorstep.enter(v4(1), Instant::now()).unwrap();
        let second = doorstep.enter(v4(1), Instant::now()).unwrap();
        let other = doorstep.enter(v4(2), Instant::now()).unwrap();
        tokio::time::advance(limits::GREETING_GRACE - Duration::from_millis(1)).await;
        assert_eq!(doorstep.enter(v4(1), Instant::now()).unwrap_err(), NoRoom::Address);
        tokio::time::advance(Duration::from_millis(1)).await;
        let third = doorstep.enter(v4(1), Instant::now()).unwrap();
        let soon = Duration::from_millis(1);
        assert!(tokio::time::timeout(soon, first.asked_to_go()).await.is_ok());
        for stays in [&second, &other, &third] {
            assert!(tokio::time::timeout(soon, stays.asked_to_go()).await.is_err());
        }
        // It does not give its place up twice.
        drop(first);
        assert_eq!(doorstep.lock().visits.len(), 3);
        let fourth = doorstep.enter(v4(3), Instant::now()).unwrap();
        // Full, and the oldest in all is not of this address.
        let fifth = doorstep.enter(v4(4), Instant::now()).unwrap();
        assert!(tokio::time::timeout(soon, second.asked_to_go()).await.is_ok());
        drop((other, third, fourth, fifth));
    }

    #[test]
    fn one_customer_s_ipv6_addresses_are_one_and_a_proxy_s_connections_count_in_all_only() {
        let doorstep = doorstep(4, 1);
        let now = Instant::now();
        let _one = doorstep.enter("2001:db8::1".parse().unwrap(), now).unwrap();
        assert_eq!(doorstep.enter("2001:db8::2".parse().unwrap(), now).unwrap_err(), NoRoom::Address);
        let _mapped = doorstep.enter("::ffff:203.0.113.1".parse().unwrap(), now).unwrap();
        assert_eq!(doorstep.enter(v4(1), now).unwrap_err(), NoRoom::Address);
        let _behind = [(); 2].map(|()| doorstep.enter("127.0.0.1".parse().unwrap(), now).unwrap());
        assert_eq!(doorstep.enter("::1".parse().unwrap(), now).unwrap_err(), NoRoom::Total);
    }
}
