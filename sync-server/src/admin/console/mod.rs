//! The operator's console: pages made here, without a script, for phones and desks.
//!
//! Templates are maud's: checked when they are compiled, escaping everything, with a tree of dependencies of two macros.

mod chart;
mod format;
mod layout;
mod overview;
mod pages;
mod text;

use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Deserialize;
use tokio::time::Instant;

use super::{AdminShared, Visitor, access};
pub(super) use text::Lang;

const STYLE: &str = include_str!("style.css");

pub(super) fn routes() -> Router<AdminShared> {
    Router::new()
        .merge(pages::routes())
        .merge(overview::routes())
        .route("/console.css", get(style))
        .route("/login", get(login).post(give_token))
        .route("/sign-in", get(use_link))
        .route("/logout", post(logout))
        .fallback(pages::not_found)
}

async fn style() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")];
    (headers, STYLE).into_response()
}

async fn login(Extension(visitor): Extension<Visitor>) -> Html<String> {
    layout::sign_in(&visitor, None)
}

#[derive(Debug, Deserialize)]
struct Token {
    token: String,
}

async fn give_token(
    State(shared): State<AdminShared>,
    Extension(visitor): Extension<Visitor>,
    Form(form): Form<Token>,
) -> Response {
    if access::is_same(form.token.trim(), &shared.token) {
        return sign_in(&shared);
    }
    let refused = access::wrong_token().await.status();
    (refused, layout::sign_in(&visitor, Some(visitor.lang.texts().token_wrong))).into_response()
}

#[derive(Debug, Deserialize)]
struct Link {
    code: String,
}

async fn use_link(
    State(shared): State<AdminShared>,
    Extension(visitor): Extension<Visitor>,
    Query(link): Query<Link>,
) -> Response {
    if access::sessions(&shared).use_link(Instant::now(), &link.code) {
        return sign_in(&shared);
    }
    let refused = access::wrong_token().await.status();
    (refused, layout::sign_in(&visitor, Some(visitor.lang.texts().link_used))).into_response()
}

fn sign_in(shared: &AdminShared) -> Response {
    let (Ok(id), Ok(form)) = (access::secret(), access::secret()) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let cookie = access::sessions(shared).sign_in(Instant::now(), &id, &form);
    tracing::info!("somebody signed in at the console");
    ([(header::SET_COOKIE, access::set_cookie(Some(&cookie)))], Redirect::to("/")).into_response()
}

async fn logout(State(shared): State<AdminShared>, headers: HeaderMap) -> Response {
    if let Some(cookie) = access::cookie(&headers) {
        access::sessions(&shared).sign_out(cookie);
    }
    ([(header::SET_COOKIE, access::set_cookie(None))], Redirect::to("/login")).into_response()
}
