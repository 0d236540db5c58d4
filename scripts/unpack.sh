#!/usr/bin/env bash
# unpack.sh PACKAGE FOLDER: fetches a Debian package and unpacks it at FOLDER. It is not installed, so
# that no service of it starts.
set -eu
package=$1
mkdir -p "$(dirname "$2")"
folder=$(realpath "$2")
staging=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$staging"' EXIT
cd "$staging"
user=()
[ "$(id -u)" != 0 ] || user=(-o APT::Sandbox::User=root)
apt-get -qq "${user[@]}" download "$package"
dpkg-deb --extract ./*.deb tree
rm -rf "$folder"
mv tree "$folder"
echo "unpacked $package"
