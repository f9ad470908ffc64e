//! The broker's endpoints in a file that Envoy watches, so that a test can take them away while Envoy runs.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::World;

const CLUSTER: &str = "/static_resources/clusters/0";

/// The file.
#[derive(Clone)]
pub struct EndpointsFile {
    file: PathBuf,
    assignment: Value,
}

impl EndpointsFile {
    /// With the endpoint of this world's broker in it.
    pub fn new(world: &World) -> Self {
        let endpoint = json!({"address": {"pipe": {"path": world.broker.grpc}}});
        let this = Self {
            file: world.dir().join("endpoints.json"),
            assignment: json!([{"lb_endpoints": [{"endpoint": endpoint}]}]),
        };
        this.put_back();
        this
    }

    /// What makes Envoy read it.
    ///
    /// # Panics
    /// When the bootstrap has no cluster.
    pub fn instead_of_static_ones(&self) -> impl FnOnce(&mut Value) + Send + 'static {
        let source = json!({"path_config_source": {"path": self.file}, "resource_api_version": "V3"});
        move |config| {
            let cluster = config.pointer_mut(CLUSTER).and_then(Value::as_object_mut).expect("envoy.yaml has a cluster");
            cluster.remove("load_assignment").expect("its endpoints are static");
            cluster.insert("type".to_owned(), "EDS".into());
            cluster.insert("eds_cluster_config".to_owned(), json!({"eds_config": source}));
        }
    }

    /// Leaves none.
    pub fn take_away(&self) {
        self.write(&json!([]));
    }

    /// Has the broker's again.
    pub fn put_back(&self) {
        self.write(&self.assignment);
    }

    /// Envoy looks when another file takes the name.
    fn write(&self, endpoints: &Value) {
        let assignment = json!({
            "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": "sallyport_broker", "endpoints": endpoints,
        });
        let new = self.file.with_extension("new");
        let version = crate::unique("version");
        std::fs::write(&new, json!({"version_info": version, "resources": [assignment]}).to_string())
            .and_then(|()| std::fs::rename(&new, &self.file))
            .expect("the directory is writable");
    }
}
