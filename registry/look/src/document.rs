//! The document around every page: its head, the bar on top, and what the last form came to.
//!
//! A template can extend only one of its own crate, so a page is not a child of this one but what it holds.

use askama::Template;

/// One page, whole.
#[derive(Template)]
#[template(path = "document.html")]
pub struct Document<'a, Content: Template> {
    pub title: &'a str,
    /// Beside the icon.
    pub brand: &'a str,
    /// Where style, script and icon are had.
    pub style: &'a str,
    pub script: &'a str,
    pub icon: &'a str,
    pub tabs: &'a [Tab],
    /// HTML about who is signed in.
    pub who: Option<&'a str>,
    pub said: Option<&'a Said>,
    /// Where the page's parts are sent again when they change.
    pub live: Option<&'a str>,
    /// What is said while nothing comes from there.
    pub lost: Option<&'static str>,
    pub content: &'a Content,
}

/// A page that the bar on top leads to.
#[derive(Debug)]
pub struct Tab {
    pub path: &'static str,
    pub label: &'static str,
    pub is_current: bool,
}

/// What the last form came to.
#[derive(Debug, Clone)]
pub struct Said {
    pub text: String,
    pub is_good: bool,
}

#[cfg(test)]
mod tests {
    use askama::Template;

    use super::{Document, Said, Tab};

    #[derive(Template)]
    #[template(ext = "html", source = "<h1>{{ heading }}</h1>")]
    struct Content {
        heading: &'static str,
    }

    #[test]
    fn a_page_stands_in_the_document_and_only_it_is_markup() {
        let said = Said { text: "<Saved>".to_owned(), is_good: true };
        let document = Document {
            title: "A & B",
            brand: "My Workers",
            style: "/style",
            script: "/script",
            icon: "/icon",
            tabs: &[Tab { path: "/jobs", label: "Jobs", is_current: true }],
            who: Some("<b>ada</b>"),
            said: Some(&said),
            live: Some("/live?a=1&b=2"),
            lost: None,
            content: &Content { heading: "<A>" },
        };
        let html = document.render().unwrap();
        for part in [
            "<title>A &#38; B · My Workers</title>",
            "<a href=\"/jobs\" aria-current=\"page\">Jobs</a>",
            "<b>ada</b>",
            "<p class=\"notice good\" role=\"status\">&#60;Saved&#62;</p>",
            "data-live=\"/live?a=1&#38;b=2\"",
            "<h1>&#60;A&#62;</h1>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert!(!html.contains("id=\"lost\""));
    }
}
