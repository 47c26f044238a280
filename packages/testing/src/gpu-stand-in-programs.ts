/**
 * In place of the driver's program. Its answers are files in `state`, which are replaced as a whole; a
 * file `failure` there has the words that it fails with.
 */
export function nvidiaSmi(state: string): string {
  return `#!/bin/sh
state=${quoted(state)}
cat "$state/failure" >&2 2> /dev/null && exit 255
case "$*" in
  "-q -x") answer=report ;;
  -L) answer=list ;;
  *) echo "Invalid combination of input arguments." >&2; exit 2 ;;
esac
[ -s "$state/list" ] || { echo "No devices were found"; exit 6; }
cat "$state/$answer"
`;
}

/**
 * In place of the vendor's hook, which the engine calls before the start of each container that is to
 * have devices, with the container's state on its standard input. Writes down who is to have which; fails
 * with the words of a file in `broken` that is named like the device. A container that asks for the
 * driver's programs gets nvidia-smi, with the answers of this moment.
 */
export function containerHook(folder: string): string {
  return `#!/bin/sh
folder=${quoted(folder)}
state=$(cat)
first() { grep -o "\\"$1\\":\\"[^\\"]*\\"" | head -n 1 | cut -d '"' -f 4; }
id=$(printf '%s' "$state" | first id)
config=$(printf '%s' "$state" | first bundle)/config.json
variable() { grep -o "\\"$1=[^\\"]*\\"" "$config" | tail -n 1 | cut -d = -f 2- | tr -d '"'; }
devices=$(variable NVIDIA_VISIBLE_DEVICES)
[ "$1" = prestart ] && printf '%s %s\\n' "$id" "$devices" >> "$folder/calls"
for device in $(printf '%s' "$devices" | tr ',/' ' _'); do
  cat "$folder/broken/$device" >&2 2> /dev/null && exit 1
done
case ",$(variable NVIDIA_DRIVER_CAPABILITIES)," in *,utility,* | *,all,*)
  root=$(grep -o '"root":{[^}]*}' "$config" | first path)
  mkdir -p "$root/usr/bin" "$root/run/gpu-stand-in"
  for file in report list failure; do
    [ ! -e "$folder/state/$file" ] || cp "$folder/state/$file" "$root/run/gpu-stand-in"
  done
  sed 's,^state=.*,state=/run/gpu-stand-in,' "$folder/programs/nvidia-smi" > "$root/usr/bin/nvidia-smi"
  chmod 755 "$root/usr/bin/nvidia-smi"
esac
exit 0
`;
}

/** For a shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
