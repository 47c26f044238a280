/**
 * In place of the driver's program. Its answers are files in `state`, which are replaced as a whole. A file
 * `failure` there has the words that it fails with, `failure.all` those for whenever it is asked for all GPUs
 * together (a query is answered all the same for those that it can tell of, unless there is a file `mute`), with
 * a number those for this one.
 * `asked` has a line for each question.
 */
export function nvidiaSmi(state: string): string {
  return `#!/bin/sh
state=${quoted(state)}
echo "$*" >> "$state/asked"
csv="--format=csv,noheader,nounits"
details=uuid,memory.total,driver_version,mig.mode.current,gpu_recovery_action
case "$*" in
  -L) answer=list of=all ;;
  "-L -i "*) answer=list of=$3 ;;
  "-q -x -i "*) answer=report of=$4 ;;
  "--query-compute-apps=gpu_uuid,pid,used_memory $csv") query=processes of=all ;;
  "--query-compute-apps=gpu_uuid,pid,used_memory $csv -i "*) query=processes of=some ;;
  "--query-gpu=uuid,utilization.gpu $csv") query=utilization of=all ;;
  "--query-gpu=uuid,utilization.gpu $csv -i "*) query=utilization of=some ;;
  "--query-gpu=$details $csv") query=details of=all ;;
  "--query-gpu=$details $csv -i "*) query=details of=some ;;
  "--query-gpu=uuid,name $csv -i "*) answer=name of=$4 ;;
  *) echo "Invalid combination of input arguments." >&2; exit 2 ;;
esac
cat "$state/failure" >&2 2> /dev/null && exit 255
[ -e "$state/mute" ] && mute=all
[ -z "$query" ] || [ "$of" = "$mute" ] || cat "$state/$query"
cat "$state/failure.$of" >&2 2> /dev/null && exit 255
[ -z "$query" ] || exit 0
[ -e "$state/$answer.$of" ] || { echo "No devices were found"; exit 6; }
cat "$state/$answer.$of"
`;
}

/**
 * In place of the vendor's hook, which the engine calls before the start of each container that is to
 * have devices, with the container's state on its standard input. Writes down who is to have which; fails
 * with the words of a file in `broken` that is named like the device. A container that does not refuse the
 * driver's programs gets nvidia-smi, with the answers of this moment, in /run/gpu-stand-in.
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
capabilities=$(variable NVIDIA_DRIVER_CAPABILITIES)
case ",\${capabilities:-compute,utility}," in *,utility,* | *,all,*)
  root=$(grep -o '"root":{[^}]*}' "$config" | first path)
  mkdir -p "$root/usr/bin" "$root/run/gpu-stand-in"
  cp "$folder/state/"[a-z]* "$root/run/gpu-stand-in"
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
