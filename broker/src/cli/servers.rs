//! `sallyport servers`

use sallyport_proto::admin::{ListServersRequest, ServerSummary};
use serde_json::json;

use super::client::{connect, print_json};
use super::{Failure, Global};

pub(super) async fn run(global: &Global) -> Result<(), Failure> {
    let servers = connect(global).await?.list_servers(ListServersRequest {}).await?.into_inner().servers;
    if global.json {
        let server = |server: &ServerSummary| {
            json!({
                "name": server.name, "url": server.url, "upstream": server.upstream, "auth": server.auth,
                "subjects": server.subjects, "redirect_uri": server.redirect_uri,
            })
        };
        print_json(&servers.iter().map(server).collect());
        return Ok(());
    }
    if servers.is_empty() {
        eprintln!("no server is registered; register some with `sallyport apply -f FILE`");
    }
    for server in servers {
        println!("{}  {}  {}", server.name, server.auth, server.url);
        println!("    upstream {}", server.upstream);
        if !server.redirect_uri.is_empty() {
            println!("    redirect {}", server.redirect_uri);
        }
        println!(
            "    used by  {}",
            if server.subjects.is_empty() { "nobody".to_owned() } else { server.subjects.join(" ") }
        );
    }
    Ok(())
}
