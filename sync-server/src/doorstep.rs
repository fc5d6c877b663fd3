//! Connections of which nobody knows yet whose they are: how many there may be, and who gives way to whom.
//!
//! A connection stands here from the moment the system hands it over until its device has greeted, or it ends. They are
//! limited in all and for each address. A new one that finds no room takes the place of the oldest, if that had
//! its time; else it is turned away and its device comes back. Whose a connection is that comes through a proxy is known only when
//! its request was read: until then it counts in all.
//!
//! WebSockets are counted for each address too, for as long as they are open, whether their device has greeted or not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use dinh_proto::limits;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::network::{self, Prefix, ProxyHeader};

/// How many connections may be open whose device has not greeted, and how many of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GreetingLimits {
    /// In all.
    pub total: usize,
    /// From one address; of IPv6 its first 64 bits count, since a customer gets as many.
    pub per_address: usize,
    /// How long one may stand in the way of a new one.
    pub grace: Duration,
    /// What a TLS handshake may take, and then the head of a request.
    pub request: Duration,
    /// WebSockets of one address, with those whose device has greeted.
    pub open_per_address: usize,
    /// Reverse proxies. Of a connection that comes from one, the address counts that it names in `proxy_header`; if it names none,
    /// only `total` counts. This machine's own are among them at first.
    pub proxies: BTreeSet<Prefix>,
    /// Where a proxy names the address for which it speaks.
    pub proxy_header: ProxyHeader,
}

impl Default for GreetingLimits {
    fn default() -> Self {
        Self {
            total: limits::GREETING_CONNECTIONS_MAX,
            per_address: limits::GREETING_CONNECTIONS_PER_ADDRESS_MAX,
            grace: limits::GREETING_GRACE,
            request: limits::UPGRADE_TIMEOUT,
            open_per_address: limits::CONNECTIONS_PER_ADDRESS_MAX,
            proxies: [IpAddr::from([127, 0, 0, 1]), IpAddr::V6(Ipv6Addr::LOCALHOST)].map(Prefix::one).into(),
            proxy_header: ProxyHeader::XForwardedFor,
        }
    }
}

impl GreetingLimits {
    fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|prefix| prefix.contains(address))
    }
}

/// Why a connection is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// Too many have not greeted.
    Total,
    /// Too many of its address have not greeted.
    Address,
    /// Its address has too many WebSockets.
    OpenOfAddress,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Doorstep {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limits: GreetingLimits,
    last: u64,
    /// By number, so the oldest first.
    visits: BTreeMap<u64, Entry>,
    by_address: BTreeMap<IpAddr, BTreeSet<u64>>,
    /// WebSockets.
    open: BTreeMap<IpAddr, usize>,
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
    /// Who is at the other end of the TCP connection.
    peer: IpAddr,
    give_way: Arc<Notify>,
}

/// One WebSocket of an address. Counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Open {
    doorstep: Arc<Doorstep>,
    address: Option<IpAddr>,
}

impl Doorstep {
    pub(crate) fn new(limits: GreetingLimits) -> Arc<Self> {
        let (visits, by_address, open) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Arc::new(Self { state: Mutex::new(State { limits, last: 0, visits, by_address, open }) })
    }

    /// Other limits from now on. Who has a place keeps it.
    pub(crate) fn reconfigure(&self, limits: GreetingLimits) {
        self.lock().limits = limits;
    }

    /// Takes a place for a new connection.
    pub(crate) fn enter(self: &Arc<Self>, from: IpAddr, now: Instant) -> Result<Visit, NoRoom> {
        let mut state = self.lock();
        let peer = from.to_canonical();
        let address = Some(peer).filter(|peer| !state.limits.is_proxy(*peer)).map(network::counted);
        state.make_room_of(address, now)?;
        if state.visits.len() >= state.limits.total {
            let oldest = state.visits.keys().next().copied();
            state.make_room(oldest, now).ok_or(NoRoom::Total)?;
        }
        state.last += 1;
        let (number, give_way) = (state.last, Arc::new(Notify::new()));
        state.visits.insert(number, Entry { address, since: now, give_way: give_way.clone() });
        if let Some(address) = address {
            state.by_address.entry(address).or_default().insert(number);
        }
        Ok(Visit { doorstep: self.clone(), number, peer, give_way })
    }

    /// The state is whole after every step, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Makes room for one more of an address, if it is known.
    fn make_room_of(&mut self, address: Option<IpAddr>, now: Instant) -> Result<(), NoRoom> {
        let Some(numbers) = address.and_then(|address| self.by_address.get(&address)) else { return Ok(()) };
        if numbers.len() < self.limits.per_address {
            return Ok(());
        }
        let oldest = numbers.first().copied();
        self.make_room(oldest, now).ok_or(NoRoom::Address)
    }

    /// Ends the oldest if it had its time. Its place is free at once, though its socket may take a moment.
    fn make_room(&mut self, oldest: Option<u64>, now: Instant) -> Option<()> {
        let entry = self.visits.get(&oldest?)?;
        if now.saturating_duration_since(entry.since) < self.limits.grace {
            return None;
        }
        entry.give_way.notify_one();
        self.remove(oldest?);
        Some(())
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.visits.remove(&number)?;
        if let Some(address) = entry.address
            && let Some(numbers) = self.by_address.get_mut(&address)
        {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_address.remove(&address);
            }
        }
        Some(entry)
    }
}

impl Visit {
    /// Whose a request is; `None` if it came through a proxy that does not say.
    pub(crate) fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let limits = &self.doorstep.lock().limits;
        network::client(self.peer, headers, |address| limits.is_proxy(address), limits.proxy_header)
    }

    /// The request for a WebSocket was read: the place is charged to the address of which it comes, and so is the WebSocket.
    pub(crate) fn open(&self, client: Option<IpAddr>, now: Instant) -> Result<Open, NoRoom> {
        let mut state = self.doorstep.lock();
        let address = client.map(network::counted);
        // One that gave its place away in this moment is about to be ended.
        if let Some(charged) = state.visits.get(&self.number).map(|entry| entry.address)
            && charged != address
        {
            state.make_room_of(address, now)?;
            if let Some(mut entry) = state.remove(self.number) {
                entry.address = address;
                state.visits.insert(self.number, entry);
                if let Some(address) = address {
                    state.by_address.entry(address).or_default().insert(self.number);
                }
            }
        }
        if let Some(address) = address {
            let most = state.limits.open_per_address;
            if state.open.get(&address).is_some_and(|open| *open >= most) {
                return Err(NoRoom::OpenOfAddress);
            }
            *state.open.entry(address).or_default() += 1;
        }
        Ok(Open { doorstep: self.doorstep.clone(), address })
    }

    /// What a TLS handshake may take, and then the head of a request.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.doorstep.lock().limits.request
    }

    /// Who is at the other end of the TCP connection.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
    }

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

impl Drop for Open {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut state = self.doorstep.lock();
        if let Some(open) = state.open.get_mut(&address) {
            *open -= 1;
            if *open == 0 {
                state.open.remove(&address);
            }
        }
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

    fn open(visit: &Visit, headers: &HeaderMap) -> Result<Open, NoRoom> {
        visit.open(visit.client(headers), Instant::now())
    }

    fn forwarded(text: &str) -> HeaderMap {
        HeaderMap::from_iter([("x-forwarded-for".parse().unwrap(), text.parse().unwrap())])
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_through_a_proxy_is_charged_when_its_request_was_read() {
        let doorstep = doorstep(100, 2);
        let proxy = || doorstep.enter("127.0.0.1".parse().unwrap(), Instant::now()).unwrap();
        let (one, two, three) = (proxy(), proxy(), proxy());
        let crowd = forwarded("203.0.113.1");
        let of_crowd = [&one, &two].map(|visit| open(visit, &crowd).unwrap());
        assert_eq!(open(&three, &crowd).unwrap_err(), NoRoom::Address);
        // It is the same address as one that comes straight, and another is another.
        assert_eq!(doorstep.enter(v4(1), Instant::now()).unwrap_err(), NoRoom::Address);
        let other = open(&three, &forwarded("203.0.113.2")).unwrap();
        // A connection that the proxy keeps open and uses for somebody else is charged to that one.
        drop(open(&one, &forwarded("203.0.113.3")).unwrap());
        assert!(doorstep.enter(v4(1), Instant::now()).is_ok());
        // The header of who is no proxy is not read, and without it a proxy is not limited.
        let straight = doorstep.enter(v4(9), Instant::now()).unwrap();
        let opened = open(&straight, &crowd).unwrap();
        assert_eq!(opened.address, Some(v4(9)));
        let silent = [(); 5].map(|()| open(&proxy(), &HeaderMap::new()).unwrap());
        assert!(silent.iter().all(|open| open.address.is_none()));
        // After its time the oldest of the address gives way here too.
        tokio::time::advance(limits::GREETING_GRACE).await;
        let (four, five) = (proxy(), proxy());
        let _four = open(&four, &crowd).unwrap();
        let _five = open(&five, &crowd).unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(1), two.asked_to_go()).await.is_ok());
        drop((one, two, three, four, five, straight, _four, _five, of_crowd, other, opened));
        let state = doorstep.lock();
        assert!(state.visits.is_empty() && state.by_address.is_empty() && state.open.is_empty());
    }

    #[test]
    fn so_many_websockets_of_an_address_may_be_open_also_after_they_greeted() {
        let limits = GreetingLimits { open_per_address: 2, ..GreetingLimits::default() };
        let (doorstep, now) = (Doorstep::new(limits), Instant::now());
        let none = HeaderMap::new();
        let greeted = || {
            let visit = doorstep.enter(v4(1), now).unwrap();
            visit.leave();
            visit.open(visit.client(&none), now)
        };
        let (one, _two) = (greeted().unwrap(), greeted().unwrap());
        assert_eq!(greeted().unwrap_err(), NoRoom::OpenOfAddress);
        assert!(doorstep.enter(v4(2), now).unwrap().open(Some(v4(2)), now).is_ok());
        drop(one);
        assert!(greeted().is_ok());
    }
}
