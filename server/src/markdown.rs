//! A shop's text as safe HTML: CommonMark, of which only what is listed here becomes an element. HTML in it is text, pictures are the
//! words that stand for them, and links lead to web pages and mailboxes only. Pure.

use flashsale_engine::kept::Kept;
use flashsale_protocol::SaleId;
use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use std::{sync::Arc, time::Duration};

/// Elements within each other, at most: what is deeper stands in the last of them.
const DEPTH_MOST: usize = 16;

/// Bytes of HTML that a process keeps, and for how long.
const KEPT_BYTES: u64 = 16_000_000;
const KEPT_FOR: Duration = Duration::from_secs(3_600);

/// The descriptions that are asked for. A sale's never changes, so each is made once.
pub struct Described(Kept<SaleId, Arc<str>>);

impl Default for Described {
    fn default() -> Self {
        Self(Kept::weighed(KEPT_BYTES, KEPT_FOR, |html| {
            u32::try_from(html.len()).unwrap_or(u32::MAX)
        }))
    }
}

impl Described {
    pub async fn html(&self, sale: SaleId, text: &str) -> Arc<str> {
        let made = self.0.get_or_read(&sale, async { Ok(html(text).into()) }).await;
        made.unwrap_or_else(|_| html(text).into())
    }
}

pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    // How each open element ends.
    let mut open: Vec<&'static str> = Vec::new();
    for event in Parser::new_ext(text, Options::empty()) {
        match event {
            Event::Start(tag) => open.push(match open.len() {
                0..DEPTH_MOST => start(&tag, &mut out),
                _ => "",
            }),
            Event::End(end) => {
                out.push_str(open.pop().unwrap_or_default());
                if !is_inline(end) {
                    out.push('\n');
                }
            }
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => escape(&text, &mut out),
            Event::Code(text) => {
                out.push_str("<code>");
                escape(&text, &mut out);
                out.push_str("</code>");
            }
            // Shops wrote plain text before: a new line stays one.
            Event::SoftBreak | Event::HardBreak => out.push_str("<br>"),
            Event::Rule => out.push_str("<hr>\n"),
            // Only with extensions.
            Event::InlineMath(_)
            | Event::DisplayMath(_)
            | Event::FootnoteReference(_)
            | Event::TaskListMarker(_) => {}
        }
    }
    out
}

/// The text alone, on one line, for what has no elements.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for event in Parser::new_ext(text, Options::empty()) {
        match event {
            Event::Text(text) | Event::Code(text) | Event::Html(text) | Event::InlineHtml(text) => {
                out.push_str(&text)
            }
            Event::SoftBreak | Event::HardBreak | Event::Rule => out.push(' '),
            Event::End(end) if !is_inline(end) => out.push(' '),
            _ => {}
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Begins an element, and says how it ends.
fn start(tag: &Tag, out: &mut String) -> &'static str {
    let (begin, end) = match tag {
        Tag::Paragraph | Tag::HtmlBlock => ("<p>", "</p>"),
        // The page has headings above these.
        Tag::Heading { level, .. } => match level {
            HeadingLevel::H1 | HeadingLevel::H2 => ("<h3>", "</h3>"),
            _ => ("<h4>", "</h4>"),
        },
        Tag::BlockQuote(_) => ("<blockquote>", "</blockquote>"),
        Tag::CodeBlock(CodeBlockKind::Indented | CodeBlockKind::Fenced(_)) => {
            ("<pre><code>", "</code></pre>")
        }
        Tag::List(None) => ("<ul>", "</ul>"),
        Tag::List(Some(first)) => {
            out.push_str(&format!("<ol start=\"{first}\">"));
            return "</ol>";
        }
        Tag::Item => ("<li>", "</li>"),
        Tag::Emphasis => ("<em>", "</em>"),
        Tag::Strong => ("<strong>", "</strong>"),
        Tag::Link { dest_url, .. } if leads_out(dest_url) => {
            out.push_str("<a href=\"");
            escape(dest_url, out);
            out.push_str("\" target=\"_blank\" rel=\"nofollow noopener noreferrer\">");
            return "</a>";
        }
        _ => return "",
    };
    out.push_str(begin);
    end
}

fn is_inline(end: TagEnd) -> bool {
    matches!(
        end,
        TagEnd::Emphasis | TagEnd::Strong | TagEnd::Link | TagEnd::Image
    )
}

/// Whether an address is of a web page or a mailbox. One that is relative would lead somewhere else on each page that shows it.
fn leads_out(address: &str) -> bool {
    ["https://", "http://", "mailto:"].iter().any(|scheme| {
        address
            .get(..scheme.len())
            .is_some_and(|its| its.eq_ignore_ascii_case(scheme))
    })
}

/// Text as it stands in an element, or in an attribute's quotes.
pub fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Not allowed in a document.
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_people_write_becomes_elements() {
        for (text, wanted) in [
            (
                "**Ten** pairs, *one* each",
                "<p><strong>Ten</strong> pairs, <em>one</em> each</p>\n",
            ),
            (
                "# Size\n\n- 40\n- 41",
                "<h3>Size</h3>\n<ul><li>40</li>\n<li>41</li>\n</ul>\n",
            ),
            ("3. a\n4. b", "<ol start=\"3\"><li>a</li>\n<li>b</li>\n</ol>\n"),
            ("one\ntwo", "<p>one<br>two</p>\n"),
            ("5 < 6 & \"7\"", "<p>5 &lt; 6 &amp; &quot;7&quot;</p>\n"),
            ("", ""),
        ] {
            assert_eq!(html(text), wanted, "{text}");
        }
        assert_eq!(
            html("[us](https://shop.example/a?b=1&c=2)"),
            "<p><a href=\"https://shop.example/a?b=1&amp;c=2\" target=\"_blank\" rel=\"nofollow noopener noreferrer\">us</a></p>\n"
        );
        assert_eq!(
            plain("# Ten\n\n**pairs** of\nshoes ![one](x.png)"),
            "Ten pairs of shoes one"
        );
    }

    #[test]
    fn a_script_is_text_and_a_link_leads_nowhere_else() {
        for text in [
            "<script>alert(1)</script>",
            "a <img src=x onerror=alert(1)> b",
            "<div onclick='a()'>\n\n[x](javascript:alert(1)) [y](  JaVaScRiPt:alert(1)) <javascript:alert(1)>",
            "[z](data:text/html,<script>alert(1)</script>) ![p](https://tracker.example/p.png)",
            "[quote](https://a.example/\"onmouseover=\"alert(1))",
            "[here](/admin) [there](//evil.example) <!-- --> <?php ?> &lt;b&gt; &#60;i&#62;",
        ] {
            let html = html(text);
            check(&html);
            assert!(!html.contains("javascript:") || !html.contains("href"), "{html}");
            assert!(!html.contains("<img") && !html.contains("/admin\""), "{html}");
        }
        assert_eq!(html("<b>x</b>"), "<p>&lt;b&gt;x&lt;/b&gt;</p>\n");
    }

    /// Every `<` begins one of our own elements, and none is left open.
    fn check(html: &str) {
        let mut open: Vec<&str> = Vec::new();
        for part in html.split('<').skip(1) {
            let (tag, _) = part.split_once('>').expect("an end");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "{html}");
                continue;
            }
            let name = tag.split(' ').next().expect("a name");
            let known = [
                "p",
                "h3",
                "h4",
                "blockquote",
                "pre",
                "code",
                "ul",
                "ol",
                "li",
                "em",
                "strong",
                "a",
                "hr",
                "br",
            ];
            assert!(known.contains(&name), "{tag} in {html}");
            let is_plain = tag == name
                || name == "ol" && tag[2..].starts_with(" start=\"")
                || name == "a"
                    && ["https://", "http://", "mailto:"]
                        .iter()
                        .any(|scheme| tag[2..].to_lowercase().starts_with(&format!("href=\"{scheme}")));
            assert!(is_plain, "{tag} in {html}");
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            if !matches!(name, "hr" | "br") {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{html}");
        assert!(html.matches("<").count() < 4 || open.len() <= DEPTH_MOST);
    }

    #[test]
    fn what_is_deep_or_long_is_no_trouble() {
        for text in [
            ">".repeat(5_000),
            "- ".repeat(2_000),
            "*".repeat(5_000),
            "[".repeat(5_000),
            "<".repeat(5_000),
            "`".repeat(5_000),
        ] {
            let html = html(&text);
            check(&html);
            assert!(html.matches("<blockquote>").count() <= DEPTH_MOST);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_only_our_own_elements_come_out(text in "[ -~\n\u{e9}\u{0}]{0,200}") {
            check(&html(&text));
        }

        #[test]
        fn nor_do_they_of_what_looks_like_it(text in r#"([<>\[\]()!*_`"'#>&;:/ \n-]|script|onerror=|javascript:|https://|a|1\.){0,60}"#) {
            check(&html(&text));
        }
    }
}
