//! Manifests and the servers they make, as operators see them.

use sallyport_proto::admin as proto;

use crate::model::{Auth, Server};
use crate::registry::{Applied, auth_kind};
use crate::yaml::Problem;

pub(super) fn summary(public_url: &str, server: &Server) -> proto::ServerSummary {
    proto::ServerSummary {
        name: server.name.0.clone(),
        url: format!("{public_url}{}", server.path()),
        upstream: server.url.to_string(),
        auth: auth_kind(&server.auth).to_owned(),
        subjects: server.subjects.clone(),
        redirect_uri: match &server.auth {
            Auth::AuthorizationCode(code) => code.client.redirect_uri(public_url),
            Auth::ClientCredentials(_) | Auth::Header(_) | Auth::None | Auth::Passthrough { .. } => String::new(),
        },
    }
}

pub(super) fn applied(applied: Applied) -> proto::Applied {
    proto::Applied {
        name: applied.name,
        r#type: applied.kind.name().to_owned(),
        changed: applied.changed,
        diff: applied.diff,
        effects: applied.effects,
    }
}

pub(super) fn problem(problem: Problem) -> proto::Problem {
    proto::Problem {
        file: problem.file,
        line: problem.line,
        field: problem.field,
        message: problem.message,
        hint: problem.hint,
    }
}
