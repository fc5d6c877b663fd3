//! What all pages have.

use axum::response::Html;
use maud::{DOCTYPE, Markup, html};

use super::super::Visitor;
use super::text::Texts;

/// What the pages can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Overview,
    Connections,
    Spaces,
    Devices,
    Rejects,
    Backups,
    Configuration,
}

impl Tab {
    const ALL: [Self; 7] = [
        Self::Overview,
        Self::Connections,
        Self::Spaces,
        Self::Devices,
        Self::Rejects,
        Self::Backups,
        Self::Configuration,
    ];

    fn path(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Connections => "/connections",
            Self::Spaces => "/spaces",
            Self::Devices => "/devices",
            Self::Rejects => "/rejects",
            Self::Backups => "/backups",
            Self::Configuration => "/configuration",
        }
    }

    pub(super) fn name(self, t: &Texts) -> &'static str {
        match self {
            Self::Overview => t.overview,
            Self::Connections => t.connections,
            Self::Spaces => t.spaces,
            Self::Devices => t.devices,
            Self::Rejects => t.rejects,
            Self::Backups => t.backups,
            Self::Configuration => t.configuration,
        }
    }
}

/// A page for whoever may see it.
pub(super) fn page(visitor: &Visitor, tab: Tab, body: Markup) -> Html<String> {
    let t = visitor.lang.texts();
    let header = html! {
        nav {
            @for other in Tab::ALL {
                a href=(other.path()) aria-current=[(other == tab).then_some("page")] { (other.name(t)) }
            }
        }
        @if let Some(token) = &visitor.form_token {
            form.leave method="post" action="/logout" {
                input type="hidden" name="form_token" value=(token);
                button { (t.sign_out) }
            }
        }
    };
    // Only what is watched loads itself again.
    let refresh = (tab == Tab::Overview).then_some("30");
    document(visitor, tab.name(t), refresh, header, body)
}

/// The page for everybody else.
pub(super) fn sign_in(visitor: &Visitor, wrong: Option<&str>) -> Html<String> {
    let t = visitor.lang.texts();
    let body = html! {
        form.card.sign-in method="post" action="/login" {
            h1 { (t.sign_in) }
            @if let Some(wrong) = wrong {
                p.bad role="alert" { (wrong) }
            }
            label for="token" { (t.token) }
            input #token type="password" name="token" autocomplete="current-password" required autofocus;
            button { (t.sign_in) }
            p.quiet { (t.token_where) }
            pre { "dinh-relay console --data DIR" }
        }
    };
    document(visitor, t.sign_in, None, html! {}, body)
}

fn document(
    visitor: &Visitor,
    title: &str,
    refresh: Option<&str>,
    header: Markup,
    body: Markup,
) -> Html<String> {
    let t = visitor.lang.texts();
    let markup = html! {
        (DOCTYPE)
        html lang=(visitor.lang.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if let Some(seconds) = refresh {
                    meta http-equiv="refresh" content=(seconds);
                }
                title { (title) " · " (t.name) }
                link rel="stylesheet" href="/console.css";
            }
            body {
                header {
                    a.brand href="/" { (t.name) }
                    (header)
                }
                main { (body) }
                footer {
                    p { (t.blind) }
                    p { "dinh-relay " (t.version) " " (env!("CARGO_PKG_VERSION")) }
                }
            }
        }
    };
    Html(markup.into_string())
}

/// One number with its name.
pub(super) fn tile(name: &str, value: &str, more: &str) -> Markup {
    html! {
        div.card.tile {
            span.title { (name) }
            // Words are longer than numbers.
            span.big.words[!value.starts_with(|c: char| c.is_ascii_digit())] { (value) }
            span.quiet { (more) }
        }
    }
}

/// Names and values.
pub(super) fn facts(rows: &[(&str, Markup)]) -> Markup {
    html! {
        dl.card.facts {
            @for (name, value) in rows {
                div { dt { (name) } dd { (value) } }
            }
        }
    }
}
