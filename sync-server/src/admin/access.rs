//! Who may see anything: whoever has the token, or signed in with it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, body::Body};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tracing::Instrument;

use super::session::{self, Sessions};
use super::{AdminShared, Visitor};
use crate::http::named;
use crate::request_id::Caller;

/// The cookie of who is signed in.
const COOKIE: &str = "dinh_console";
/// What somebody with a wrong token waits for the answer; with the bound on connections it bounds what can be guessed.
const WRONG_TOKEN_DELAY: Duration = Duration::from_secs(1);
/// The body of a form.
const FORM_BYTES_MAX: usize = 16 * 1024;
/// Nothing from elsewhere, no script at all.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// Paths that everybody on this machine may see.
const OPEN: [&str; 3] = ["/login", "/sign-in", "/console.css"];

/// Gives the request its id, and answers only who may see the answer.
pub(super) async fn guard(State(shared): State<AdminShared>, mut request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().copied();
    let id = crate::request_id::RequestId::draw().to_string();
    let address = caller.map(|c| c.address.to_string()).unwrap_or_default();
    let span = tracing::error_span!("request", request = %id, method = %request.method(), path = request.uri().path(), address);
    let answer = async {
        if !is_our_name(request.headers(), &shared.hosts) {
            let how =
                "this name is not one of this listener: use its address, or add the name to `admin.hosts`\n";
            return (StatusCode::MISDIRECTED_REQUEST, how).into_response();
        }
        match admit(&shared, &mut request).await {
            Ok(()) => next.run(request).await,
            Err(refusal) => *refusal,
        }
    };
    let mut response = answer.instrument(span.clone()).await;
    span.in_scope(|| tracing::debug!(status = response.status().as_u16(), "answered"));
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // A stricter one would take the origin from forms, which is looked at.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    named(response, &id)
}

async fn admit(shared: &AdminShared, request: &mut Request) -> Result<(), Box<Response>> {
    let path = request.uri().path().to_owned();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_read && !is_same_origin(request.headers()) {
        return Err(refuse(StatusCode::FORBIDDEN, "this form is not of this page\n"));
    }
    let mut visitor = Visitor::new(request.headers());
    if OPEN.contains(&path.as_str()) {
        request.extensions_mut().insert(visitor);
        return Ok(());
    }
    if let Some(given) = bearer(request.headers()) {
        if !is_same(given, &shared.token) {
            return Err(Box::new(wrong_token().await));
        }
        request.extensions_mut().insert(visitor);
        return Ok(());
    }
    let is_page = !path.starts_with("/api/") && path != "/metrics";
    let signed_in = cookie(request.headers()).and_then(|c| sessions(shared).form_token(Instant::now(), c));
    let Some(form_token) = signed_in else {
        if is_page {
            return Err(Box::new(Redirect::to("/login").into_response()));
        }
        let how = "this needs the token of admin.json in the relay's data directory\n";
        let refused = (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], how);
        return Err(Box::new(refused.into_response()));
    };
    if !is_read {
        if !is_page {
            return Err(refuse(StatusCode::FORBIDDEN, "who changes something here gives the token itself\n"));
        }
        check_form(request, &form_token).await?;
    }
    visitor.form_token = Some(form_token);
    request.extensions_mut().insert(visitor);
    Ok(())
}

fn refuse(status: StatusCode, why: &'static str) -> Box<Response> {
    tracing::warn!(status = status.as_u16(), "refused: {}", why.trim_end());
    Box::new((status, why).into_response())
}

/// After a while.
pub(super) async fn wrong_token() -> Response {
    tracing::warn!("a wrong token was given to the operator's listener");
    tokio::time::sleep(WRONG_TOKEN_DELAY).await;
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], "this is not the token\n")
        .into_response()
}

#[derive(Debug, Deserialize)]
struct FormToken {
    form_token: String,
}

/// A form must carry what only a page of this session knows.
async fn check_form(request: &mut Request, form_token: &str) -> Result<(), Box<Response>> {
    let missing = || {
        refuse(
            StatusCode::FORBIDDEN,
            "the form lacks what this session's pages put into it: load the page again\n",
        )
    };
    let body = std::mem::replace(request.body_mut(), Body::empty());
    let bytes = axum::body::to_bytes(body, FORM_BYTES_MAX).await.map_err(|_| missing())?;
    let mut copy = Request::new(Body::from(bytes.clone()));
    *copy.method_mut() = Method::POST;
    *copy.headers_mut() = request.headers().clone();
    let given = Form::<FormToken>::from_request(copy, &()).await.map_err(|_| missing())?;
    if !is_same(&given.form_token, form_token) {
        return Err(missing());
    }
    *request.body_mut() = Body::from(bytes);
    Ok(())
}

/// Whether a browser sends this for a page of ours, or no browser sends it.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let site = text(header::HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return false;
    }
    let host = text(header::HOST).unwrap_or_default();
    let is_ours =
        |origin: &str| origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(host));
    // A header that is there and cannot be read is not of ours.
    headers.get(header::ORIGIN).is_none_or(|origin| origin.to_str().is_ok_and(is_ours))
}

/// Whether the host that was asked for is an address, this machine, or configured. Another name may be somebody else's, who lets it
/// point here so that their pages are of the same origin.
fn is_our_name(headers: &HeaderMap, hosts: &BTreeSet<String>) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let host = host.to_ascii_lowercase();
    let without_brackets = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&host);
    if host.parse::<SocketAddr>().is_ok() || without_brackets.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
    name == "localhost" || hosts.iter().any(|ours| ours.eq_ignore_ascii_case(name))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// The cookie of the session, if one is given.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// What sets it, or, without a value, takes it away.
pub(super) fn set_cookie(value: Option<&str>) -> String {
    let (value, age) = value.map_or(("", 0), |value| (value, session::SESSION_TIME.as_secs()));
    format!("{COOKIE}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict")
}

/// Takes as long wherever they differ.
pub(super) fn is_same(given: &str, token: &str) -> bool {
    // Who does not know the token cannot choose where the two hashes begin to differ.
    Sha256::digest(given) == Sha256::digest(token)
}

pub(super) fn sessions(shared: &AdminShared) -> MutexGuard<'_, Sessions> {
    shared.sessions.lock().unwrap_or_else(PoisonError::into_inner)
}

/// 256 random bits.
pub(super) fn secret() -> Result<[u8; 32], getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_name_that_is_not_ours_is_not_answered() {
        let hosts: BTreeSet<String> = ["console.example.vn".to_owned()].into();
        let is_ours = |host| is_our_name(&headers(&[("host", host)]), &hosts);
        for ours in [
            "127.0.0.1:4481",
            "127.0.0.1",
            "[::1]:80",
            "[::1]",
            "localhost:9",
            "LOCALHOST",
            "console.example.vn:4481",
        ] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in [
            "evil.example",
            "evil.example:4481",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "[::1",
            "a:b:c",
        ] {
            assert!(!is_ours(other), "{other}");
        }
        assert!(!is_our_name(&HeaderMap::new(), &hosts));
    }

    #[test]
    fn what_another_site_sends_is_told_apart() {
        let host = ("host", "127.0.0.1:4481");
        assert!(is_same_origin(&headers(&[host])), "no browser");
        assert!(is_same_origin(&headers(&[
            host,
            ("origin", "http://127.0.0.1:4481"),
            ("sec-fetch-site", "same-origin")
        ])));
        for other in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:80"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(!is_same_origin(&headers(&[host, other])), "{other:?}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        assert_eq!(cookie(&headers(&[("cookie", "a=b; dinh_console=12ab; c=d")])), Some("12ab"));
        assert_eq!(cookie(&headers(&[("cookie", "xdinh_console=1; dinh_consoley=2")])), None);
    }
}
