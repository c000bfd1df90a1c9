#!/bin/sh
# Fills a folder with what a build needs of the base image, taken from this machine: Node, npm and a few programs, each with
# its libraries. For where the real base image cannot be fetched.
set -eu
root=$1

for name in sh cat chmod env find id ls mkdir node rm setpriv; do
  program=$(command -v "$name")
  install -D "$program" "$root/usr/bin/$name"
  for library in $(ldd "$program" | grep -o '/[^ ]*'); do
    [ -e "$root$library" ] || install -D "$library" "$root$library"
  done
done
mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/root" "$root/etc" "$root/usr/lib/node_modules"
ln -s /usr/bin/sh "$root/bin/sh"
cp -R "$(npm root -g)/npm" "$root/usr/lib/node_modules/npm"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/bin/npm"
install -d -m 1777 "$root/tmp"
install -d -o 1000 -g 1000 "$root/home/node"
printf 'root:x:0:0::/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nnode:x:1000:\n' >"$root/etc/group"
