# nginx wants a resolver's address in its configuration: the pod's own.
set -eu
resolver=$(awk '$1 == "nameserver" { print $2; exit }' /etc/resolv.conf)
case $resolver in *:*) resolver="[$resolver]" ;; esac
sed "s/RESOLVER/$resolver/" /etc/sandbox-route/nginx.conf > /tmp/nginx.conf
exec nginx -c /tmp/nginx.conf -e /dev/stderr -g 'daemon off;'
