//! Who is signed in at the console. Pure: time and randomness are passed in.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// How long somebody who does nothing stays signed in, and how long anybody does.
pub(super) const SESSION_TIME: Duration = Duration::from_secs(12 * 3_600);
/// How long a link to sign in is good.
pub(super) const LINK_TIME: Duration = Duration::from_secs(300);
/// Beyond these the oldest goes.
const SESSIONS_MAX: usize = 64;
const LINKS_MAX: usize = 16;

type Secret = [u8; 32];

/// What is kept of a secret, so that nothing that is compared or dumped is one.
fn hashed(secret: &str) -> Secret {
    Sha256::digest(secret).into()
}

/// A secret of 256 bits as hexadecimal digits.
pub(super) fn text(secret: &Secret) -> String {
    secret.iter().map(|b| format!("{b:02x}")).collect()
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// When each ends, and the token that its forms carry.
    sessions: BTreeMap<Secret, (Instant, String)>,
    /// When each link ends.
    links: BTreeMap<Secret, Instant>,
}

impl Sessions {
    /// Somebody who proved that they may signs in: the cookie's value.
    pub(super) fn sign_in(&mut self, now: Instant, id: &Secret, form: &Secret) -> String {
        self.forget(now);
        if self.sessions.len() == SESSIONS_MAX {
            let oldest = self.sessions.iter().min_by_key(|(_, (ends, _))| *ends).map(|(id, _)| *id);
            oldest.map(|id| self.sessions.remove(&id));
        }
        let cookie = text(id);
        self.sessions.insert(hashed(&cookie), (now + SESSION_TIME, text(form)));
        cookie
    }

    /// The token of this session's forms, if it is one.
    pub(super) fn form_token(&mut self, now: Instant, cookie: &str) -> Option<String> {
        self.forget(now);
        self.sessions.get(&hashed(cookie)).map(|(_, form)| form.clone())
    }

    /// Ends one.
    pub(super) fn sign_out(&mut self, cookie: &str) {
        self.sessions.remove(&hashed(cookie));
    }

    /// A code that signs in once.
    pub(super) fn link(&mut self, now: Instant, code: &Secret) -> String {
        self.forget(now);
        if self.links.len() == LINKS_MAX {
            let oldest = self.links.iter().min_by_key(|(_, ends)| **ends).map(|(code, _)| *code);
            oldest.map(|code| self.links.remove(&code));
        }
        let code = text(code);
        self.links.insert(hashed(&code), now + LINK_TIME);
        code
    }

    /// Whether the code is good: only the first time.
    pub(super) fn use_link(&mut self, now: Instant, code: &str) -> bool {
        self.forget(now);
        self.links.remove(&hashed(code)).is_some()
    }

    fn forget(&mut self, now: Instant) {
        self.sessions.retain(|_, (ends, _)| *ends > now);
        self.links.retain(|_, ends| *ends > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_signs_in_once_and_not_for_long() {
        let now = Instant::now();
        let mut sessions = Sessions::default();
        let code = sessions.link(now, &[1; 32]);
        assert!(!sessions.use_link(now, "another"));
        assert!(sessions.use_link(now, &code));
        assert!(!sessions.use_link(now, &code));
        let late = sessions.link(now, &[2; 32]);
        assert!(!sessions.use_link(now + LINK_TIME, &late));
        for n in 0..100 {
            sessions.link(now, &[n; 32]);
        }
        assert_eq!(sessions.links.len(), LINKS_MAX);
    }

    #[test]
    fn a_session_ends_and_the_oldest_gives_way() {
        let now = Instant::now();
        let mut sessions = Sessions::default();
        let cookie = sessions.sign_in(now, &[1; 32], &[2; 32]);
        assert_eq!(sessions.form_token(now, &cookie), Some(text(&[2; 32])));
        assert_eq!(sessions.form_token(now, &text(&[2; 32])), None);
        assert_eq!(sessions.form_token(now + SESSION_TIME, &cookie), None);
        let cookies: Vec<String> = (0..100)
            .map(|n| sessions.sign_in(now + Duration::from_secs(n.into()), &[n; 32], &[0; 32]))
            .collect();
        assert_eq!(sessions.sessions.len(), SESSIONS_MAX);
        let later = now + Duration::from_secs(100);
        assert!(sessions.form_token(later, &cookies[99]).is_some());
        assert!(sessions.form_token(later, &cookies[0]).is_none());
        sessions.sign_out(&cookies[99]);
        assert!(sessions.form_token(later, &cookies[99]).is_none());
    }
}
