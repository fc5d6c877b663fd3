//! What the log says about those who are refused or have to wait: ids and numbers, no content, and of a flood only a few lines.

use dinh_proto::error::{CloseCode, Fate, SessionError};
use dinh_proto::ids::{DeviceId, ItemId};

use super::admit::Refusal;
use super::{Hub, Limit, PeerId};

impl Hub {
    /// A connection is closed because there are too many.
    pub(super) fn log_connection(&mut self, limit: &'static str, id: PeerId, device: Option<DeviceId>) {
        let Some(left_out) = self.lines.line(self.now, "connection", limit) else { return };
        let device = device.map(tracing::field::display);
        tracing::warn!(limit, peer = id.0, device, left_out, "connection refused");
    }

    /// Its socket is read later.
    pub(super) fn log_pause(&mut self, id: PeerId, limit: &'static str) {
        let Some(left_out) = self.lines.line(self.now, "pause", limit) else { return };
        let device = self.peers.get(&id).and_then(|p| p.device).map(tracing::field::display);
        tracing::warn!(limit, device, left_out, "reading later: too much at once");
    }

    /// Its items are judged later.
    pub(super) fn log_delay(&mut self, device: DeviceId, limit: Limit) {
        let Some(left_out) = self.lines.line(self.now, "delay", limit.name()) else { return };
        tracing::warn!(limit = limit.name(), %device, left_out, "items wait for their device's share");
    }

    /// This side closed a connection.
    pub(super) fn log_close(&mut self, id: PeerId, error: &SessionError) {
        let Some(code) = error.close_code() else { return };
        // Nothing was refused; or it was said before which limit it is.
        if matches!(code, CloseCode::Normal | CloseCode::GoingAway | CloseCode::TooMany) {
            return;
        }
        let Some(left_out) = self.lines.line(self.now, "close", code.name()) else { return };
        let device = self.peers.get(&id).and_then(|p| p.device).map(tracing::field::display);
        let (code, peer) = (code.name(), id.0);
        if *error == SessionError::TimedOut {
            // Phones come and go.
            tracing::info!(code, peer, device, left_out, %error, "connection closed");
        } else {
            tracing::warn!(code, peer, device, left_out, %error, "connection closed");
        }
    }

    /// An item is refused.
    pub(super) fn log_refusal(&mut self, id: PeerId, item: ItemId, refusal: &Refusal) {
        // What is stored already is not refused.
        if refusal.code.fate() == Fate::Settled {
            return;
        }
        let code = refusal.code.name();
        let Some(left_out) = self.lines.line(self.now, "item", code) else { return };
        let device = self.peers.get(&id).and_then(|p| p.device).map(tracing::field::display);
        let space = refusal.space.map(tracing::field::display);
        tracing::warn!(code, device, space, %item, detail = refusal.detail, left_out, "item refused");
    }
}
