#!/bin/sh
# Makes what the parts of the fleet show each other: certificates, passwords, and the address of each store. Once; what is
# there is left alone. Each part gets a directory of its own, which only its own user reads.
#
#   prepare.sh OUT           OUT/broker, OUT/envoy, OUT/postgres and OUT/redis must be there
#   prepare.sh OUT renew     new authorities and certificates, before the old ones expire; passwords stay, and so does a
#                            certificate of Envoy's that is not from here. Then every part must be started again
set -eu
umask 077
out=$1
days=365
case "${2:-}" in
  '') if [ -e "$out/broker/prepared" ]; then exit 0; fi ;;
  renew) ;;
  *) echo "prepare.sh OUT [renew]" >&2; exit 2 ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# An authority for what brokers connect to, one for brokers, one for proxies: whoever has a certificate of one is nobody to
# the others.
authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days $days -subj "/CN=sallyport $1" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign \
    -keyout "$1-ca.key" -out "$1-ca.crt" 2>/dev/null
}
# certificate AUTHORITY NAME SUBJECT-ALTERNATIVE-NAMES USE
certificate() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" -keyout "$2.key" -out "$2.csr" 2>/dev/null
  printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=%s\nsubjectAltName=%s\n' "$4" "$3" > "$2.ext"
  openssl x509 -req -in "$2.csr" -CA "$1-ca.crt" -CAkey "$1-ca.key" -CAcreateserial -days $days -extfile "$2.ext" \
    -out "$2.crt" 2>/dev/null
}
password() {
  openssl rand -hex 24
}
here=DNS:localhost,IP:127.0.0.1

for name in stores brokers proxies; do authority "$name"; done
certificate stores postgres "DNS:postgres,$here" serverAuth
certificate stores redis "DNS:redis,$here" serverAuth
certificate brokers broker DNS:brokers.sallyport.internal serverAuth
certificate proxies proxy URI:spiffe://sallyport.internal/gateway clientAuth
# What agents and browsers see. Put your own authority's in its place.
envoys_is_ours() {
  [ ! -e "$out/envoy/tls.crt" ] || openssl x509 -in "$out/envoy/tls.crt" -noout -issuer | grep -Eq '^issuer= ?CN ?= ?localhost$'
}
if envoys_is_ours; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days $days -subj /CN=localhost \
    -addext "subjectAltName=$here" -keyout tls.key -out tls.crt 2>/dev/null
fi
# Postgres keeps the password that it was made with.
if [ -e "$out/broker/prepared" ]; then
  postgres_password=$(cat "$out/postgres/password")
  redis_password=$(sed 's,^rediss://sallyport:,,; s,@.*,,' "$out/broker/redis-url")
else
  postgres_password=$(password)
  redis_password=$(password)
fi

# place USER FROM TO: last of all, so that nobody finds half of it.
place() {
  mkdir -p "$(dirname "$out/$3")"
  cp "$2" "$out/$3.new"
  chmod 400 "$out/$3.new"
  chown "$1:$1" "$out/$3.new" "$(dirname "$out/$3")"
  mv "$out/$3.new" "$out/$3"
}
printf %s "$postgres_password" > password
# Nobody comes in without TLS and a password; by the socket comes what the image sets itself up with.
printf 'local all sallyport scram-sha-256\nhostssl sallyport sallyport all scram-sha-256\n' > pg_hba.conf
place 999 postgres.crt postgres/server.crt
place 999 postgres.key postgres/server.key
place 999 password postgres/password
place 999 pg_hba.conf postgres/pg_hba.conf

printf 'user default off\nuser sallyport on #%s resetkeys ~sallyport:* resetchannels &sallyport:* -@all +set +get +del +pexpire +eval +publish +subscribe\n' \
  "$(printf %s "$redis_password" | openssl dgst -sha256 -r | cut -d' ' -f1)" > users.acl
place 64003 redis.crt redis/server.crt
place 64003 redis.key redis/server.key
place 64003 stores-ca.crt redis/ca.pem
place 64003 users.acl redis/users.acl

place 64002 proxy.crt envoy/mtls/proxy.crt
place 64002 proxy.key envoy/mtls/proxy.key
place 64002 brokers-ca.crt envoy/mtls/brokers.pem
if [ -e tls.crt ]; then
  place 64002 tls.crt envoy/tls.crt
  place 64002 tls.key envoy/tls.key
fi

printf 'postgres://sallyport:%s@postgres:5432/sallyport' "$postgres_password" > postgres-url
printf 'rediss://sallyport:%s@redis:6379' "$redis_password" > redis-url
place 64001 broker.crt broker/broker.crt
place 64001 broker.key broker/broker.key
place 64001 proxies-ca.crt broker/proxies.pem
place 64001 stores-ca.crt broker/stores.pem
place 64001 postgres-url broker/postgres-url
place 64001 redis-url broker/redis-url
: > prepared
place 64001 prepared broker/prepared
