#!/bin/sh
# The gateway's Envoy, as the fleet runs it: envoy/envoy.yaml with its own TLS, and two brokers on other machines.
#
#   envoy-config.sh envoy/envoy.yaml > envoy-of-the-fleet.yaml
set -eu
broker() {
  printf '              - endpoint: { address: { socket_address: { address: %s, port_value: 10002 } } }' "$1"
}
exec sed -e 's/^#tls//' -e 's/^#mtls//' \
  -e '/# site: node/s/id: [^ ]*/id: gateway-1/' \
  -e '/# site: listener/s/127.0.0.1, port_value: 10000/0.0.0.0, port_value: 8443/' \
  -e 's/broker\.example\.com/brokers.sallyport.internal/' \
  -e '/- name: sallyport_broker/,/load_assignment/s/type: STATIC/type: STRICT_DNS/' \
  -e "/# site: broker/c\\
$(broker broker-1)\\
$(broker broker-2)" "$1"
