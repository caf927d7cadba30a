//! `maintenance` and `error_rules`: pages of the zone's own.

use http::{HeaderValue, StatusCode};

use super::super::reader::Section;
use super::super::rule::{RuleFile, RuleKind, read_rules};
use crate::rules::Rule;
use crate::rules::phase::{Page, PageRule};

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

pub(super) fn read_maintenance(section: &Section<'_>, from: RuleFile<'_>) -> Vec<Rule<PageRule>> {
    let kind = RuleKind {
        key: "maintenance",
        response: false,
        for_all: true,
        example: "file = \"maintenance.html\"",
    };
    read_rules(section, &kind, from, |rule, _| {
        let page = read_page(rule);
        let status = read_status(rule).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let retry_after = rule.duration("retry_after");
        Some(PageRule {
            page: page?,
            status: Some(status),
            retry_after: retry_after.map(|after| after.value.as_secs()),
        })
    })
}

pub(super) fn read_error_pages(section: &Section<'_>, from: RuleFile<'_>) -> Vec<Rule<PageRule>> {
    let kind = RuleKind {
        key: "error_rules",
        response: true,
        for_all: false,
        example: "file = \"error.html\"",
    };
    read_rules(section, &kind, from, |rule, _| {
        let page = read_page(rule);
        let status = read_status(rule);
        Some(PageRule {
            page: page?,
            status,
            retry_after: None,
        })
    })
}

pub(super) fn read_status(rule: &Section<'_>) -> Option<StatusCode> {
    let written = rule.integer("status", 200..=599)?;
    if matches!(written.value, 204 | 205 | 206 | 304) {
        let message = format!("an answer with status {} has no page", written.value);
        let help = "write for example 200 or 503".to_owned();
        rule.reader.fault(written.span, message, Some(help));
        return None;
    }
    StatusCode::from_u16(u16::try_from(written.value).ok()?).ok()
}

/// `content` or `file`, and `content_type`.
pub(super) fn read_page(rule: &Section<'_>) -> Option<Page> {
    let content = rule.string("content");
    let file = rule.file("file");
    let content_type = rule.parsed("content_type", "a media type", |text| {
        HeaderValue::try_from(text).map_err(|_| "is not a media type".to_owned())
    });
    let content_type = content_type.map_or(HTML, |written| written.value);
    let (content, file) = match (content, file) {
        (Some(content), None) => (content.value, None),
        (None, Some(file)) => (file.value.text, Some(file.value.name)),
        (Some(_), Some(file)) => {
            let help = "keep one of the two".to_owned();
            rule.reader.fault(
                file.span,
                "the page has both `content` and `file`",
                Some(help),
            );
            return None;
        }
        (None, None) => {
            if !rule.has("file") && !rule.has("content") {
                let help = "write `content = \"…\"` or `file = \"page.html\"`".to_owned();
                rule.reader
                    .fault(rule.span.clone(), "there is no page", Some(help));
            }
            return None;
        }
    };
    Some(Page {
        content: content.into(),
        file,
        content_type,
    })
}
