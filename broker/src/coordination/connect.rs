//! Reaching Redis: the one server, the master that Sentinels name, or a cluster.

use std::time::Duration;

use redis::aio::PubSub;
use redis::cluster::ClusterClient;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, cmd};

use super::PATIENCE;
use super::address::Kind;
use super::link::{Connection, Link, words};

/// To reach one server.
const REACH: Duration = Duration::from_millis(700);

/// To reach whoever is to be asked, through whoever knows where that is, and to be answered.
const CONNECT: Duration = Duration::from_secs(3);

impl Link {
    /// Everything that the link takes, which a replica or a user without rights does not give.
    pub(super) async fn reach(&self) -> Result<(Connection, PubSub), String> {
        match tokio::time::timeout(CONNECT, self.connect()).await {
            Ok(connected) => connected,
            Err(_) => Err("it is not reached in time".to_owned()),
        }
    }

    async fn connect(&self) -> Result<(Connection, PubSub), String> {
        let (mut connection, mut notices) = match &self.address.kind {
            Kind::Alone => self.connect_to(self.address.nodes.first().ok_or("there is none")?).await?,
            Kind::Sentinels { master, login } => {
                let (host, port) = self.master(master).await?;
                let info = self.address.master(&host, port, login).map_err(|flaw| format!("the master {flaw}"))?;
                self.connect_to(&info).await?
            }
            Kind::Cluster => self.connect_to_cluster().await?,
        };
        notices.subscribe(self.channel()).await.map_err(|error| words(&error))?;
        // Reads and writes, as a lease does: a replica that nobody writes to answers, too.
        let entry = self.probed();
        connection.ask::<Option<String>>(&entry.take()).await.map_err(|error| words(&error))?;
        connection.ask::<u64>(&entry.renew()).await.map_err(|error| words(&error))?;
        connection.ask::<u64>(&entry.release(self)).await.map_err(|error| words(&error))?;
        Ok((connection, notices))
    }

    async fn connect_to(&self, info: &ConnectionInfo) -> Result<(Connection, PubSub), String> {
        let client = Client::open(info.clone()).map_err(|error| words(&error))?;
        let connection = client.get_multiplexed_async_connection_with_config(&limits()).await;
        let connection = connection.map_err(|error| words(&error))?;
        let notices = client.get_async_pubsub().await.map_err(|error| words(&error))?;
        Ok((Connection::Server(connection), notices))
    }

    async fn connect_to_cluster(&self) -> Result<(Connection, PubSub), String> {
        let mut cluster = ClusterClient::builder(self.address.nodes.clone())
            .connection_timeout(REACH)
            .response_timeout(PATIENCE)
            .retries(1);
        if let Some(tls) = &self.address.tls {
            cluster = cluster.certs(tls.clone());
        }
        let cluster = cluster.build().map_err(|error| words(&error))?;
        let connection = cluster.get_async_connection().await.map_err(|error| words(&error))?;
        let mut why = "there is no node".to_owned();
        // Any node tells what is published at any other.
        for node in &self.address.nodes {
            let client = Client::open(node.clone()).map_err(|error| words(&error))?;
            match tokio::time::timeout(REACH, client.get_async_pubsub()).await {
                Ok(Ok(notices)) => return Ok((Connection::Cluster(connection), notices)),
                Ok(Err(error)) => why = words(&error),
                Err(_) => "a node is not reached in time".clone_into(&mut why),
            }
        }
        Err(why)
    }

    /// Where the Sentinels say that the master is.
    async fn master(&self, name: &str) -> Result<(String, u16), String> {
        let mut ask = cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        let mut why = "no Sentinel was asked".to_owned();
        for sentinel in &self.address.nodes {
            let told = async {
                let client = Client::open(sentinel.clone())?;
                let mut connection = client.get_multiplexed_async_connection_with_config(&limits()).await?;
                ask.query_async::<Option<(String, u16)>>(&mut connection).await
            };
            match tokio::time::timeout(REACH, told).await {
                Ok(Ok(Some(master))) => return Ok(master),
                Ok(Ok(None)) => why = format!("a Sentinel knows no master `{name}`"),
                Ok(Err(error)) => why = format!("of a Sentinel: {}", words(&error)),
                Err(_) => "a Sentinel is not reached in time".clone_into(&mut why),
            }
        }
        Err(why)
    }
}

fn limits() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(REACH)).set_response_timeout(Some(REACH))
}
