//! What a proxy hears that serves some groups only.

use sallyport_proto::broker::{Delta, Membership, Snapshot};

use super::*;
use crate::model::ExternalIdentity as Known;

/// Servers with these policies; teams and external identities of both groups.
fn policies(pay: &str, hr: &str) -> Servers {
    let mut servers = servers(&["pay/ledger", "hr/files"]);
    for (name, subject) in [("pay/ledger", pay), ("hr/files", hr)] {
        let server = servers.by_name.get_mut(&ServerName(name.to_owned())).unwrap();
        Arc::get_mut(server).unwrap().subjects = vec![subject.to_owned()];
    }
    let teams = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    servers.memberships.insert("user:both@example.com".into(), teams(&["hr", "pay"]));
    servers.memberships.insert("user:hr@example.com".into(), teams(&["hr"]));
    servers
}

fn member(subject: &str, teams: &[&str]) -> Membership {
    Membership { subject: subject.into(), teams: teams.iter().map(|team| (*team).to_owned()).collect() }
}

fn full(update: Update) -> Snapshot {
    match update.update {
        Some(update::Update::Full(snapshot)) => snapshot,
        other => panic!("{other:?}"),
    }
}

fn delta(update: Update) -> Delta {
    match update.update {
        Some(update::Update::Delta(delta)) => delta,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn i3_a_scoped_proxy_hears_of_the_teams_and_identities_that_its_own_servers_name() {
    let fixture = Fixture::new().await;
    let scope = Scope::Groups(["pay".to_owned()].into());
    let mut first = policies("team:pay", "external-identity:partners");
    let rule = caller::ExternalIdentity {
        name: "partners".into(),
        issuer: "https://partner.example.com".into(),
        claims: Default::default(),
    };
    let partners = Known { rule, verifier_url: None };
    first.external_identities.insert("partners".into(), partners.clone());
    fixture.servers.send_replace(Arc::new(first));
    let before = fixture.publisher.publish().await;
    let heard = full(fixture.publisher.current().update_from(0, &scope));
    assert_eq!(heard.servers.len(), 1);
    assert_eq!(heard.memberships, [member("user:both@example.com", &["pay"])]);
    assert_eq!(heard.external_identities, []);
    assert_eq!(full(fixture.publisher.current().update_from(0, &Scope::Every)).memberships.len(), 2);
    // What its policy names from now on comes with that policy, although it was there before.
    let mut second = policies("team:hr", "team:pay");
    second.external_identities.insert("partners".into(), partners);
    fixture.servers.send_replace(Arc::new(second));
    let after = fixture.publisher.publish().await;
    let heard = delta(fixture.publisher.current().update_from(before, &scope));
    assert_eq!((heard.from, heard.to, heard.servers.len()), (before, after, 1));
    let both = member("user:both@example.com", &["hr"]);
    assert_eq!(heard.memberships, [both, member("user:hr@example.com", &["hr"])]);
    assert!(heard.removed_memberships.is_empty() && heard.external_identities.is_empty());
}
