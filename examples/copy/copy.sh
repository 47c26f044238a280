#!/bin/sh
# The whole model: everything from /input goes to /output, with modes and times.
set -eu
cp -a /input/. /output/
echo "copied $(find /input -type f | wc -l) files"
