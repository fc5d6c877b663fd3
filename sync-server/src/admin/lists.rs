//! Connections, spaces and devices in the order that somebody asked for, a page of them. The hub is asked in pieces and goes on
//! with its work between them.

use std::cmp::Reverse;

use serde::Deserialize;

use crate::driver::Driver;
use crate::hub::{ConnectionRow, DeviceRow, SpaceView};
use crate::request_id::Caller;

/// Rows of a page.
pub(crate) const PAGE_ROWS: usize = 100;
/// Rows that the hub is asked for at once.
const PIECE: usize = 1_000;

/// One page.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) rows: Vec<T>,
    /// Of all pages.
    pub(super) total: usize,
    /// From 1.
    pub(super) number: usize,
    pub(super) pages: usize,
}

impl<T> Page<T> {
    /// Page `number` of these, or the last there is.
    fn of(mut all: Vec<T>, number: usize) -> Self {
        let total = all.len();
        let pages = total.div_ceil(PAGE_ROWS).max(1);
        let number = number.clamp(1, pages);
        all.drain(..(number - 1) * PAGE_ROWS);
        all.truncate(PAGE_ROWS);
        Self { rows: all, total, number, pages }
    }
}

/// How connections are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ConnectionOrder {
    /// Who lags most first.
    #[default]
    Lag,
    /// The newest first.
    Newest,
    /// The oldest first.
    Oldest,
    /// Whoever moved most bytes first.
    Bytes,
}

/// How spaces are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SpaceOrder {
    /// The largest first.
    #[default]
    Size,
    /// The one with the newest item first.
    Activity,
}

/// Everything, asked for piece by piece: what comes after the last one that is there.
async fn in_pieces<T>(ask: impl Fn(Option<&T>) -> Vec<T>) -> Vec<T> {
    let mut all: Vec<T> = Vec::new();
    loop {
        let piece = ask(all.last());
        let is_last = piece.len() < PIECE;
        all.extend(piece);
        if is_last {
            return all;
        }
        tokio::task::yield_now().await;
    }
}

pub(super) async fn connections(
    driver: &Driver,
    order: ConnectionOrder,
    number: usize,
) -> Page<(ConnectionRow, Caller)> {
    let mut all = in_pieces(|last: Option<&(ConnectionRow, _)>| {
        driver.connections(last.map(|(view, _)| view.peer), PIECE)
    })
    .await;
    match order {
        ConnectionOrder::Lag => {
            all.sort_by_key(|(view, _)| (Reverse(view.lag), Reverse(view.queue_bytes), view.peer))
        }
        ConnectionOrder::Newest => all.reverse(),
        ConnectionOrder::Oldest => {}
        ConnectionOrder::Bytes => {
            all.sort_by_key(|(view, _)| (Reverse(view.bytes_in + view.bytes_out), view.peer))
        }
    }
    Page::of(all, number)
}

/// All spaces in this order.
async fn all_spaces(driver: &Driver, order: SpaceOrder) -> Vec<SpaceView> {
    let mut all = in_pieces(|last: Option<&SpaceView>| driver.spaces(last.map(|view| view.id), PIECE)).await;
    match order {
        SpaceOrder::Size => all.sort_by_key(|view| (Reverse(view.bytes), view.id)),
        SpaceOrder::Activity => all.sort_by_key(|view| (Reverse(view.last), view.id)),
    }
    all
}

pub(super) async fn spaces(driver: &Driver, order: SpaceOrder, number: usize) -> Page<SpaceView> {
    Page::of(all_spaces(driver, order).await, number)
}

/// The spaces with most bytes.
pub(super) async fn largest_spaces(driver: &Driver, limit: usize) -> Vec<SpaceView> {
    let mut all = all_spaces(driver, SpaceOrder::Size).await;
    all.truncate(limit);
    all
}

/// Devices: those that are connected first.
pub(super) async fn devices(driver: &Driver, number: usize) -> Page<DeviceRow> {
    let mut all =
        in_pieces(|last: Option<&DeviceRow>| driver.device_rows(last.map(|view| view.id), PIECE)).await;
    all.sort_by_key(|view| (Reverse(view.connections), view.id));
    Page::of(all, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_not_there_is_the_last_one() {
        let page = |n| Page::of((0..250).collect::<Vec<usize>>(), n);
        assert_eq!((page(1).rows[0], page(1).rows.len(), page(1).pages), (0, 100, 3));
        assert_eq!((page(3).rows[0], page(3).rows.len(), page(3).total), (200, 50, 250));
        assert_eq!((page(9).number, page(0).number), (3, 1));
        let none = Page::of(Vec::<usize>::new(), 7);
        assert_eq!((none.number, none.pages, none.rows.len()), (1, 1, 0));
    }
}
