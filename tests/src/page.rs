//! A page as a person uses it: its links, its buttons, and where it leads by itself.

use url::Url;

/// What a browser shows, or is told to open next.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where it was.
    pub url: Url,
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: reqwest::header::HeaderMap,
    /// Its text.
    pub text: String,
}

/// What a button sends, and where to.
pub(crate) struct Form {
    pub(crate) action: Url,
    pub(crate) fields: Vec<(String, String)>,
}

impl Page {
    /// Where it leads by itself: a redirect, or a page that goes on at once.
    pub fn location(&self) -> Option<Url> {
        let refresh = || {
            let tag = self.tags("meta").find(|tag| attribute(tag, "http-equiv").as_deref() == Some("refresh"))?;
            attribute(tag, "content")?.strip_prefix("0;url=").map(str::to_owned)
        };
        let header = self.headers.get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
        self.url.join(&header.or_else(refresh)?).ok()
    }

    /// Where the link with this text leads.
    pub fn link(&self, text: &str) -> Option<Url> {
        let end = format!(">{text}</a>");
        let tag = self.tags("a").find(|tag| self.text.contains(&format!("{tag}{end}")))?;
        self.url.join(&attribute(tag, "href")?).ok()
    }

    /// The form of the button with this text, filled in as it is shown, with every box ticked.
    /// The values that go with a button and are not seen, its own included.
    pub fn hidden(&self, button: &str) -> Vec<String> {
        self.form(button).into_iter().flat_map(|form| form.fields).map(|(_, value)| value).collect()
    }

    pub(crate) fn form(&self, button: &str) -> Option<Form> {
        let end = format!(">{button}</button>");
        let (before, _) = self.text.split_once(&end)?;
        let (_, own) = before.rsplit_once("<form")?;
        let action = self.url.join(&attribute(own, "action").unwrap_or_default()).ok()?;
        let (_, pressed) = own.rsplit_once("<button")?;
        let inputs = own.split("<input").skip(1).filter_map(|rest| rest.split('>').next());
        let fields = inputs.chain([pressed]);
        let fields = fields.filter_map(|tag| Some((attribute(tag, "name")?, attribute(tag, "value")?))).collect();
        Some(Form { action, fields })
    }

    /// From behind the name to before the end of each.
    fn tags(&self, name: &'static str) -> impl Iterator<Item = &str> {
        let tags = self.text.split('<').filter_map(move |rest| rest.strip_prefix(name));
        tags.filter(|rest| rest.starts_with(' ')).filter_map(|rest| rest.split('>').next())
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split('>').next()?.split_once(&format!(" {name}=\""))?;
    let value = rest.split('"').next()?;
    Some(value.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&"))
}
