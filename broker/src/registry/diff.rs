//! What differs between two manifests of one name, as text.

use similar::TextDiff;

use crate::manifest::Manifest;

/// Unified diff of key-sorted YAML with integrations in order of name; empty if nothing differs or nothing was there.
pub(super) fn unified(existing: Option<&Manifest>, new: &Manifest) -> String {
    let Some(existing) = existing else { return String::new() };
    let (old, new_text) = (sorted(existing), sorted(new));
    let title = format!("{} ({})", new.name, new.kind.name());
    TextDiff::from_lines(&old, &new_text)
        .unified_diff()
        .header(&format!("existing/{title}"), &format!("new/{title}"))
        .to_string()
}

fn sorted(manifest: &Manifest) -> String {
    let mut body = manifest.body.clone();
    if let Some(integrations) = body.get_mut("integrations").and_then(serde_json::Value::as_array_mut) {
        let name = |value: &serde_json::Value| value.get("name").and_then(serde_json::Value::as_str).map(str::to_owned);
        integrations.sort_by_key(name);
    }
    // JSON is YAML; what cannot be shown prettily is shown all the same.
    serde_saphyr::to_string(&body).unwrap_or_else(|_| format!("{body:#}"))
}
