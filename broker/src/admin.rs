//! The operator's API over its own Unix socket: whoever runs the broker may operate it, and every change is recorded with
//! the Unix user who made it.

mod audit;
mod diagnosis;
mod grants;
mod identities;
mod keys;
mod manifests;
mod socket;
mod status;

pub use socket::{SocketError, bind};

use std::sync::Arc;
use std::time::Duration;

use sallyport_proto::admin as proto;
use sallyport_proto::admin::admin_server::{Admin as Service, AdminServer};
use tokio::net::UnixListener;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};

use crate::audit::{Actor, Audit, Event};
use crate::clock::{Clock, UnixTime};
use crate::doctor::Running;
use crate::fingerprints::Fingerprints;
use crate::grants::Grants;
use crate::harden::effective_uid;
use crate::issuers::own::OwnIssuer;
use crate::master_keys::MasterKeys;
use crate::model::{Principal, PrincipalId, PrincipalKind, SecretRef};
use crate::registry::{Document, Options, Registry};
use crate::secret::Secret;
use crate::secrets::Secrets;
use crate::signin::SignIns;
use crate::store::Store;

/// A directory of manifests is one message.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// What the operator's API works on.
pub struct Admin {
    /// Manifests.
    pub registry: Arc<Registry>,
    /// The broker's own secrets.
    pub secrets: Secrets,
    /// Issues tokens.
    pub own: Arc<OwnIssuer>,
    /// Signs people in.
    pub sign_ins: SignIns,
    /// Ends grants.
    pub grants: Grants,
    /// Master keys.
    pub master_keys: MasterKeys,
    /// Tokens, grants, principals and audit.
    pub store: Arc<dyn Store>,
    /// Where what operators do is recorded.
    pub audit: Audit,
    /// By which the audit names what is released.
    pub fingerprints: Arc<Fingerprints>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Origin of the gateway, without a trailing slash.
    pub public_url: String,
    /// Called once a secret has a new value, so that providers that refused the old one are asked again at once.
    pub secret_changed: Box<dyn Fn() + Send + Sync>,
    /// Called once a token is revoked, so that proxies hear of it at once (I11).
    pub revoked: Box<dyn Fn() + Send + Sync>,
    /// Looks at the parts that run.
    pub running: Running,
}

impl Admin {
    /// Answers operators until `stop`, and then those it is answering.
    ///
    /// # Errors
    /// If the transport fails.
    pub async fn serve(self, listener: UnixListener, stop: CancellationToken) -> Result<(), tonic::transport::Error> {
        let service = AdminServer::new(self).max_decoding_message_size(MAX_MESSAGE);
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.cancelled_owned())
            .await
    }
}

/// The operator at the other end. The socket's permissions keep others out; this holds where they were loosened.
fn operator<T>(request: &Request<T>) -> Result<Actor, Status> {
    let peer = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    match peer.map(|peer| peer.uid()) {
        Some(uid) if uid == effective_uid() => Ok(Actor::operator(uid)),
        Some(_) | None => Err(Status::permission_denied("only the Unix user that runs the broker may operate it")),
    }
}

#[tonic::async_trait]
impl Service for Admin {
    type QueryAuditStream = ReceiverStream<Result<proto::AuditRecord, Status>>;
    type RewrapKeysStream = ReceiverStream<Result<proto::RewrapProgress, Status>>;
    type ShredKeysStream = ReceiverStream<Result<proto::ShredProgress, Status>>;

    async fn apply(&self, request: Request<proto::ApplyRequest>) -> Result<Response<proto::ApplyResponse>, Status> {
        let actor = operator(&request)?;
        let request = request.into_inner();
        let options = Options { dry_run: request.dry_run, show_diff: request.show_diff };
        let documents: Vec<_> =
            request.documents.into_iter().map(|given| Document { file: given.file, text: given.text }).collect();
        let report =
            self.registry.apply(&documents, options, actor).await.map_err(|error| status::of_registry(&error))?;
        Ok(Response::new(proto::ApplyResponse {
            applied: report.applied.into_iter().map(manifests::applied).collect(),
            problems: report.problems.into_iter().map(manifests::problem).collect(),
            warnings: report.warnings.into_iter().map(manifests::problem).collect(),
        }))
    }

    async fn list_servers(
        &self,
        request: Request<proto::ListServersRequest>,
    ) -> Result<Response<proto::ListServersResponse>, Status> {
        operator(&request)?;
        let servers = self.registry.servers();
        let servers = servers.by_name.values().map(|server| manifests::summary(&self.public_url, server)).collect();
        Ok(Response::new(proto::ListServersResponse { servers }))
    }

    async fn set_secret(
        &self,
        request: Request<proto::SetSecretRequest>,
    ) -> Result<Response<proto::SetSecretResponse>, Status> {
        let actor = operator(&request)?;
        let request = request.into_inner();
        let value = Secret::new(request.value);
        let name = SecretRef { group: request.group, key: request.key };
        let reference = self.secrets.set(&name, &value, &request.owners, actor).await;
        let reference = reference.map_err(|error| status::of_secrets(&error))?;
        self.registry.secret_set().await.map_err(|error| status::of_registry(&error))?;
        (self.secret_changed)();
        Ok(Response::new(proto::SetSecretResponse { reference }))
    }

    async fn list_secrets(
        &self,
        request: Request<proto::ListSecretsRequest>,
    ) -> Result<Response<proto::ListSecretsResponse>, Status> {
        operator(&request)?;
        let listed = self.secrets.list().await.map_err(|error| status::of_secrets(&error))?;
        let secrets = listed
            .into_iter()
            .map(|secret| proto::SecretSummary { reference: secret.reference, owners: secret.owners });
        Ok(Response::new(proto::ListSecretsResponse { secrets: secrets.collect() }))
    }

    async fn issue_token(
        &self,
        request: Request<proto::IssueTokenRequest>,
    ) -> Result<Response<proto::IssueTokenResponse>, Status> {
        let actor = operator(&request)?;
        let request = request.into_inner();
        let kind = whom(request.whom)?;
        let principal = self.store.ensure_principal(&kind, None, self.clock.now()).await;
        let principal = principal.map_err(|error| status::of_store(&error))?;
        let issued = self.own.issue(&principal, Duration::from_millis(request.ttl_ms)).await;
        let issued = issued.map_err(|error| status::of_own_issuer(&error))?;
        let event = Event::token_issue(actor, principal.id, &issued.id);
        self.audit.record(event).await.map_err(|error| status::of_audit(&error))?;
        // Exposed to be handed to the operator, who asked for it; nothing else shows it again.
        let token = issued.token.expose_str().unwrap_or_default().to_owned();
        Ok(Response::new(proto::IssueTokenResponse { token, id: issued.id, expires_at_ms: issued.expires_at.0 }))
    }

    async fn list_tokens(
        &self,
        request: Request<proto::ListTokensRequest>,
    ) -> Result<Response<proto::ListTokensResponse>, Status> {
        operator(&request)?;
        let found = self.store.tokens(self.clock.now()).await.map_err(|error| status::of_store(&error))?;
        let corrupt = grants::told(&found.corrupt);
        let mut tokens = Vec::new();
        for token in found.records {
            tokens.push(proto::TokenSummary {
                id: token.id,
                whom: grants::named(&*self.store, &token.principal).await?,
                issued_at_ms: token.issued_at.0,
                expires_at_ms: token.expires_at.0,
                revoked: token.revoked_at.is_some(),
            });
        }
        Ok(Response::new(proto::ListTokensResponse { tokens, corrupt }))
    }

    async fn revoke_token(
        &self,
        request: Request<proto::RevokeTokenRequest>,
    ) -> Result<Response<proto::RevokeTokenResponse>, Status> {
        let actor = operator(&request)?;
        let id = request.into_inner().id;
        let now: UnixTime = self.clock.now();
        if !self.store.revoke_token(&id, now).await.map_err(|error| status::of_store(&error))? {
            return Err(Status::not_found(format!("there is no token with the id `{}`", id.escape_debug())));
        }
        // Before the record of it: a revocation is never held up.
        (self.revoked)();
        self.audit.record(Event::token_revoke(actor, &id)).await.map_err(|error| status::of_audit(&error))?;
        Ok(Response::new(proto::RevokeTokenResponse {}))
    }

    async fn create_sign_in_link(
        &self,
        request: Request<proto::CreateSignInLinkRequest>,
    ) -> Result<Response<proto::CreateSignInLinkResponse>, Status> {
        use proto::create_sign_in_link_request::Whom;

        let actor = operator(&request)?;
        let link = match request.into_inner().whom {
            Some(Whom::User(email)) => {
                let email = crate::manifest::email(&email).map_err(|flaw| Status::invalid_argument(flaw.message))?;
                self.sign_ins.link_for_user(&email, actor).await
            }
            Some(Whom::Principal(id)) => self.sign_ins.link_for_principal(&PrincipalId(id), actor).await,
            None => return Err(Status::invalid_argument("a sign-in link is for a user or a principal")),
        };
        let link = link.map_err(|refused| status::of_sign_in(&refused))?;
        // Exposed to be handed to the operator, who asked for it; nothing else shows it again.
        let url = link.url.expose_str().unwrap_or_default().to_owned();
        Ok(Response::new(proto::CreateSignInLinkResponse { url, expires_at_ms: link.expires_at.0 }))
    }

    async fn list_identities(
        &self,
        request: Request<proto::ListIdentitiesRequest>,
    ) -> Result<Response<proto::ListIdentitiesResponse>, Status> {
        operator(&request)?;
        identities::list(&*self.store, &request.into_inner().user).await.map(Response::new)
    }

    async fn link_identity(
        &self,
        request: Request<proto::LinkIdentityRequest>,
    ) -> Result<Response<proto::LinkIdentityResponse>, Status> {
        let actor = operator(&request)?;
        identities::link(self, request.into_inner(), actor).await.map(Response::new)
    }

    async fn release_user(
        &self,
        request: Request<proto::ReleaseUserRequest>,
    ) -> Result<Response<proto::ReleaseUserResponse>, Status> {
        let actor = operator(&request)?;
        identities::release(self, &request.into_inner().user, &actor).await.map(Response::new)
    }

    async fn list_grants(
        &self,
        request: Request<proto::ListGrantsRequest>,
    ) -> Result<Response<proto::ListGrantsResponse>, Status> {
        operator(&request)?;
        let proto::ListGrantsRequest { user, server } = request.into_inner();
        grants::list(&*self.store, &self.registry.servers(), &user, &server).await.map(Response::new)
    }

    async fn show_grant(
        &self,
        request: Request<proto::ShowGrantRequest>,
    ) -> Result<Response<proto::ShowGrantResponse>, Status> {
        operator(&request)?;
        let grant = grants::of_somebody(&*self.store, &request.into_inner().id).await?;
        let grant = grants::summary(&*self.store, &self.registry.servers(), &grant).await?;
        Ok(Response::new(proto::ShowGrantResponse { grant: Some(grant) }))
    }

    async fn revoke_grants(
        &self,
        request: Request<proto::RevokeGrantsRequest>,
    ) -> Result<Response<proto::RevokeGrantsResponse>, Status> {
        let actor = operator(&request)?;
        grants::revoke(&*self.store, &self.grants, request.into_inner().which, &actor).await.map(Response::new)
    }

    async fn refresh_grant(
        &self,
        request: Request<proto::RefreshGrantRequest>,
    ) -> Result<Response<proto::RefreshGrantResponse>, Status> {
        let actor = operator(&request)?;
        grants::refresh(&*self.store, &self.grants, request.into_inner(), actor).await.map(Response::new)
    }

    async fn list_keys(
        &self,
        request: Request<proto::ListKeysRequest>,
    ) -> Result<Response<proto::ListKeysResponse>, Status> {
        operator(&request)?;
        keys::list(&self.master_keys).await.map(Response::new)
    }

    async fn rotate_key(
        &self,
        request: Request<proto::RotateKeyRequest>,
    ) -> Result<Response<proto::RotateKeyResponse>, Status> {
        let actor = operator(&request)?;
        keys::rotate(&self.master_keys, actor).await.map(Response::new)
    }

    async fn rewrap_keys(
        &self,
        request: Request<proto::RewrapKeysRequest>,
    ) -> Result<Response<Self::RewrapKeysStream>, Status> {
        let actor = operator(&request)?;
        Ok(Response::new(keys::rewrap(self.master_keys.clone(), actor)))
    }

    async fn diagnose(
        &self,
        request: Request<proto::DiagnoseRequest>,
    ) -> Result<Response<proto::DiagnoseResponse>, Status> {
        operator(&request)?;
        let findings = self.running.findings().await.into_iter().map(diagnosis::finding);
        Ok(Response::new(proto::DiagnoseResponse { findings: findings.collect() }))
    }

    async fn shred_keys(
        &self,
        request: Request<proto::ShredKeysRequest>,
    ) -> Result<Response<Self::ShredKeysStream>, Status> {
        let actor = operator(&request)?;
        let request = request.into_inner();
        let whose = keys::whose(&*self.store, request.whose).await?;
        let (keys, grants) = (self.master_keys.clone(), self.grants.clone());
        Ok(Response::new(keys::shred(keys, grants, whose, request.dry_run, actor)))
    }

    async fn query_audit(
        &self,
        request: Request<proto::QueryAuditRequest>,
    ) -> Result<Response<Self::QueryAuditStream>, Status> {
        operator(&request)?;
        Ok(Response::new(audit::query(Arc::clone(&self.store), request.into_inner())))
    }

    async fn fingerprint(
        &self,
        request: Request<proto::FingerprintRequest>,
    ) -> Result<Response<proto::FingerprintResponse>, Status> {
        operator(&request)?;
        let token = Secret::new(request.into_inner().token);
        // Exposed to be named without being told.
        let fingerprint = self.fingerprints.of(token.expose()).as_str().to_owned();
        Ok(Response::new(proto::FingerprintResponse { fingerprint }))
    }

    async fn verify_audit(
        &self,
        request: Request<proto::VerifyAuditRequest>,
    ) -> Result<Response<proto::VerifyAuditResponse>, Status> {
        operator(&request)?;
        audit::verify(&*self.store).await.map(Response::new)
    }
}

fn whom(whom: Option<proto::issue_token_request::Whom>) -> Result<PrincipalKind, Status> {
    use proto::issue_token_request::Whom;

    let flaw = |flaw: crate::yaml::Flaw| Status::invalid_argument(flaw.message);
    match whom {
        Some(Whom::User(email)) => {
            crate::manifest::email(&email).map(|email| PrincipalKind::User { email }).map_err(flaw)
        }
        Some(Whom::VirtualAccount(name)) => {
            crate::config::name(&name).map(|name| PrincipalKind::VirtualAccount { name }).map_err(flaw)
        }
        None => Err(Status::invalid_argument("a token is for a user or a virtual account")),
    }
}

fn shown(principal: &Principal) -> String {
    match &principal.kind {
        PrincipalKind::External => format!("external:{}", principal.id.0),
        PrincipalKind::User { email } => format!("user:{email}"),
        PrincipalKind::VirtualAccount { name } => format!("virtualaccount:{name}"),
    }
}
