//! What a client that waits is shown.

use http::StatusCode;

use super::room::Wait;

/// After how many seconds the page asks again, at least; up to half as many more by chance.
pub const REFRESH: u64 = 20;

/// In which form the page is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A page, for people.
    Html,
    /// For programs.
    Json,
    /// For terminals.
    Plain,
}

/// A page, and its media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The media type.
    pub content_type: &'static str,
    /// The content.
    pub content: String,
}

/// Our own page for a client that waits; `None` for one that is sent away.
pub fn page(
    format: Format,
    wait: Option<&Wait>,
    status: StatusCode,
    refresh: u64,
    request_id: &str,
) -> Page {
    let (content_type, content) = match format {
        Format::Html => ("text/html; charset=utf-8", html(wait, refresh, request_id)),
        Format::Json => (
            "application/json",
            json(wait, status, refresh, request_id).to_string(),
        ),
        Format::Plain => (
            "text/plain; charset=utf-8",
            format!(
                "{}\n{}\nRequest id: {request_id}\n",
                headline(wait),
                wait.map_or_else(
                    || format!("Please try again in {refresh} seconds."),
                    |wait| format!("{} Ask again in {refresh} seconds.", words(wait.seconds))
                )
            ),
        ),
    };
    Page {
        content_type,
        content,
    }
}

/// Fills a page of the operator's in. No value can hold what HTML or JSON would take for its own.
pub fn fill(
    content: &str,
    wait: Option<&Wait>,
    status: StatusCode,
    refresh: u64,
    request_id: &str,
) -> String {
    let ahead = wait.map_or(0, |wait| wait.ahead);
    let minutes = wait.and_then(|wait| wait.seconds).map(minutes);
    content
        .replace("{{wait}}", &words(wait.and_then(|wait| wait.seconds)))
        .replace(
            "{{wait_minutes}}",
            &minutes.map_or_else(String::new, |minutes| minutes.to_string()),
        )
        .replace("{{ahead}}", &ahead.to_string())
        .replace("{{refresh}}", &refresh.to_string())
        .replace("{{status}}", status.as_str())
        .replace("{{request_id}}", request_id)
}

fn headline(wait: Option<&Wait>) -> &'static str {
    match wait {
        Some(_) => "You are in the queue",
        None => "Too many visitors at the moment",
    }
}

fn minutes(seconds: u64) -> u64 {
    seconds.div_ceil(60).max(1)
}

/// How long it takes, for people.
fn words(seconds: Option<u64>) -> String {
    match seconds.map(minutes) {
        None => "We cannot say yet how long it will take.".to_owned(),
        Some(1) => "It will take about a minute.".to_owned(),
        Some(minutes @ ..90) => format!("It will take about {minutes} minutes."),
        Some(minutes) => format!("It will take about {} hours.", minutes.div_ceil(60)),
    }
}

fn json(
    wait: Option<&Wait>,
    status: StatusCode,
    refresh: u64,
    request_id: &str,
) -> serde_json::Value {
    serde_json::json!({
        "waiting_room": {
            "queued": wait.is_some(),
            "ahead": wait.map(|wait| wait.ahead),
            "estimated_wait_seconds": wait.and_then(|wait| wait.seconds),
            "refresh_seconds": refresh,
        },
        "status": status.as_u16(),
        "request_id": request_id,
    })
}

fn html(wait: Option<&Wait>, refresh: u64, request_id: &str) -> String {
    let title = headline(wait);
    let text = match wait {
        Some(wait) => {
            let ahead = match wait.ahead {
                0 => "You are next.".to_owned(),
                1 => "There is one visitor before you.".to_owned(),
                ahead => format!("There are {ahead} visitors before you."),
            };
            format!(
                "<p role=\"status\">{ahead} {}</p>\n\
                 <p>This page asks again by itself every half a minute. You keep your place as long as \
                 it is open; there is no need to reload it.</p>",
                words(wait.seconds)
            )
        }
        None => "<p role=\"status\">Please come back in a few minutes.</p>".to_owned(),
    };
    let again = wait.map_or_else(String::new, |_| {
        format!("<meta http-equiv=\"refresh\" content=\"{refresh}\">\n")
    });
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"robots\" content=\"noindex\">\n{again}<title>{title}</title>\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1.5rem}}\
         h1{{font-size:1.6rem;line-height:1.2}}code{{font-size:.85em}}</style>\n\
         <main>\n<h1>{title}</h1>\n{text}\n<p><code>Request id: {request_id}</code></p>\n</main>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Wait = Wait {
        ticket: None,
        ahead: 12,
        seconds: Some(200),
    };

    #[test]
    fn pages_are_small_and_say_how_long_it_takes() {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        for wait in [Some(&WAIT), None] {
            for format in [Format::Html, Format::Json, Format::Plain] {
                let page = page(format, wait, status, 23, "abc");
                assert!(page.content.len() < 4096);
                assert!(
                    page.content.contains("abc") && page.content.contains("23") || wait.is_none()
                );
            }
        }
        let html = page(Format::Html, Some(&WAIT), status, 23, "abc").content;
        assert!(
            html.contains("12 visitors") && html.contains("about 4 minutes"),
            "{html}"
        );
        let text = fill(
            "{{ahead}}/{{wait_minutes}}/{{refresh}}/{{status}}",
            Some(&WAIT),
            status,
            23,
            "",
        );
        assert_eq!(text, "12/4/23/503");
    }
}
