import AdmZip from 'adm-zip';

/** What the outputs below are made for. */
export const outputLimits = {
  MAX_OUTPUT_BYTES: String(64 * 1024 ** 2),
  MAX_SCRATCH_BYTES: String(256 * 1024 ** 2),
  // The kernel's part of so many files counts as well.
  CONTAINER_MEMORY_MIB: '512',
};

/** What a container does, and exactly what comes of it. */
export interface HostileOutput {
  what: string;
  script: string;
  /** Comes with the task beside the script. */
  files?: Record<string, Buffer>;
  /** The files of the output with their contents, or with what holds for these; folders with null. */
  output?: Record<string, string | ((content: string) => boolean) | null>;
  /** Why it failed. */
  failed?: { reason: string; detail: RegExp };
  /** The lines on what was left out. */
  leftOut?: readonly string[];
  /** What else the log of the task says. */
  log?: RegExp;
}

const tooMany = { reason: 'bad_output', detail: /too many files and folders \(allowed: 50000\)/ };
const tooLarge = { reason: 'bad_output', detail: /too many bytes \(allowed: 67108864\)/ };
const fileTooLong = { reason: 'out_of_disk', detail: /of more bytes.* \(allowed: 268435456\)/ };
const twice = { reason: 'bad_output', detail: /differ only in their Unicode normalisation/ };
const kindTwice = { reason: 'bad_output', detail: /a file and a folder of one name/ };

// Made once: it has the time of its making in it.
const bomb = makeBomb();

export const hostileOutputs: readonly HostileOutput[] = [
  {
    what: 'nothing at all',
    script: 'true',
    output: {},
  },
  {
    what: 'symbolic links: absolute, near, to folders, dangling, in a loop, upwards',
    script: `cd /output; echo x > real; mkdir dir; ln -s /etc/passwd absolute; ln -s real near
      ln -s dir folder; ln -s nowhere dangling; ln -s loop loop; ln -s / root; ln -s ../../etc up`,
    output: { real: 'x\n', 'dir/': null },
    leftOut: ['absolute', 'dangling', 'folder', 'loop', 'near', 'root', 'up'].map(
      (name) => `left out: symbolic link ${name}`,
    ),
  },
  {
    what: 'a fifo and a socket',
    script: `mkfifo /output/pipe; ln -s /output/socket /dev/log; syslogd -n -O /dev/null &
      i=0; until [ -S /output/socket ]; do i=$((i+1)); [ $i -lt 200 ] || exit 9; usleep 50000; done
      echo x > /output/x`,
    // Engines pass over sockets and say nothing of them.
    output: { x: 'x\n' },
    leftOut: ['left out: fifo pipe'],
  },
  {
    what: 'hard links: to files, to a link, to a fifo',
    script: `cd /output; mkdir in; echo x > a; ln a b; ln b in/c; ln -s a soft; ln soft softer
      mkfifo pipe; ln pipe pipes`,
    output: { a: 'x\n', b: 'x\n', 'in/': null, 'in/c': 'x\n' },
    leftOut: [
      'left out: fifo pipe',
      'left out: symbolic link soft',
      'left out: hard link pipes',
      'left out: hard link softer',
    ],
  },
  {
    what: 'more hard links than are brought',
    script: 'cd /output; echo x > a; for i in $(seq 1100); do ln a $i; done',
    failed: { reason: 'bad_output', detail: /too many hard links \(allowed: 1000\)/ },
  },
  {
    what: 'a device, which nobody in a container can make',
    script: 'set -e; mknod /output/null c 1 3',
    failed: { reason: 'exit_code', detail: /exit code 1\b/ },
    log: /mknod: .*Operation not permitted/,
  },
  {
    what: 'a sparse file of a tebibyte',
    script: 'truncate -s 1099511627776 /output/giant; code=$?; ls /output; exit $code',
    failed: fileTooLong,
  },
  {
    what: 'a sparse file beyond the limit',
    script: 'truncate -s 100M /output/sparse',
    failed: tooLarge,
  },
  {
    what: 'a sparse file within the limit',
    script: 'truncate -s 60M /output/sparse',
    output: { sparse: (content) => content === '\0'.repeat(60 * 1024 ** 2) },
  },
  {
    what: 'many files that are too large together',
    script: 'cd /output; for i in $(seq 70); do head -c 1m /dev/zero > $i; done',
    failed: tooLarge,
  },
  {
    what: 'files without end, until it is stopped',
    script: `cd /output; i=0
      while :; do i=$((i+1)); head -c 1m /dev/zero > $i; usleep 20000; done`,
    failed: { reason: 'bad_output', detail: /stopped: \/output held too many bytes/ },
  },
  {
    what: 'files without end beside it, until it is stopped',
    script: `cd /tmp; i=0
      while :; do i=$((i+1)); head -c 1m /dev/zero > $i; usleep 5000; done`,
    failed: { reason: 'out_of_disk', detail: /stopped: it wrote too many bytes outside/ },
  },
  {
    what: '60,000 empty files',
    script: 'cd /output; seq 60000 | xargs touch',
    failed: tooMany,
  },
  {
    what: '150,000 files',
    script: 'mkdir /output/m; cd /output/m; seq 150000 | xargs touch',
    failed: tooMany,
  },
  {
    what: '5,000 fifos, of which the log names some',
    script: 'cd /output; seq -w 5000 | while read i; do mkfifo $i; done',
    output: {},
    leftOut: [
      ...Array.from({ length: 50 }, (_, at) => `left out: fifo ${String(at + 1).padStart(4, '0')}`),
      'left out: … and 4950 more',
    ],
  },
  {
    what: 'folders 500 deep',
    script: `${descend('d', 500)}; echo x > x`,
    output: {
      ...Object.fromEntries(
        Array.from({ length: 500 }, (_, depth) => ['d/'.repeat(depth + 1), null]),
      ),
      [`${'d/'.repeat(500)}x`]: 'x\n',
    },
  },
  {
    what: 'a path of more than 1,024 bytes',
    script: `${descend('n'.repeat(250), 4)}; echo x > ${'x'.repeat(20)}; echo x > ${'x'.repeat(21)}`,
    output: {
      ...Object.fromEntries(
        Array.from({ length: 4 }, (_, depth) => [`${'n'.repeat(250)}/`.repeat(depth + 1), null]),
      ),
      [`${`${'n'.repeat(250)}/`.repeat(4)}${'x'.repeat(20)}`]: 'x\n',
    },
    leftOut: [
      `left out: ${`${'n'.repeat(250)}/`.repeat(2).slice(0, 300)}…: its name is longer than 1024 bytes`,
    ],
  },
  {
    what: 'a path that is longer than the system takes',
    script: `${descend('n'.repeat(200), 20)}; echo x > x; echo x > /output/near`,
    output: {
      near: 'x\n',
      ...Object.fromEntries(
        Array.from({ length: 5 }, (_, depth) => [`${'n'.repeat(200)}/`.repeat(depth + 1), null]),
      ),
    },
    leftOut: [
      `left out: ${`${'n'.repeat(200)}/`.repeat(2).slice(0, 300)}…: its name is longer than 1024 bytes`,
    ],
  },
  {
    what: 'a name of 255 bytes',
    script: `cd /output; echo x > ${'n'.repeat(255)}`,
    output: { ['n'.repeat(255)]: 'x\n' },
  },
  {
    what: 'names that are not UTF-8',
    script: `cd /output; printf x > "$(printf 'b\\344d')"; mkdir "$(printf '\\377')"
      printf x > "$(printf '\\377/in')"; printf x > good`,
    output: { good: 'x' },
    leftOut: [
      'left out: b\ufffdd: its name is not valid UTF-8',
      'left out: \ufffd: its name is not valid UTF-8',
      'left out: \ufffd/in: its name is not valid UTF-8',
    ],
  },
  {
    what: 'names with line breaks, escapes and other control characters',
    script: `cd /output; for name in 'two\\nlines' '\\033[2Jcleared' 'del\\177' 'x\\r'; do
      printf x > "$(printf "$name")"; done`,
    output: {},
    leftOut: ['two\\u{a}lines', '\\u{1b}[2Jcleared', 'del\\u{7f}', 'x\\u{d}'].map(
      (name) => `left out: ${name}: its name has a control character in it`,
    ),
  },
  {
    what: 'names that other systems take for something else',
    script: `cd /output; printf x > 'a\\b'; printf x > '..\\up'; printf x > C:x; printf x > ..x
      printf x > ...; printf x > ' lead'; printf x > ./-rf; printf x > '%s%n'; printf x > NUL`,
    output: { '..x': 'x', '...': 'x', ' lead': 'x', '-rf': 'x', '%s%n': 'x', NUL: 'x' },
    leftOut: [
      'left out: a\\b: its name has a backslash in it',
      'left out: ..\\up: its name has a backslash in it',
      'left out: C:x: its name begins with a drive letter',
    ],
  },
  {
    what: 'two names that are one after normalisation',
    script: `cd /output; printf 1 > "$(printf '\\303\\251')"; printf 2 > "$(printf 'e\\314\\201')"`,
    failed: twice,
  },
  {
    what: 'a file and a folder that are one after normalisation',
    script: `cd /output; printf 1 > "$(printf '\\303\\251')"; mkdir "$(printf 'e\\314\\201')"`,
    failed: kindTwice,
  },
  {
    what: 'files and folders that nobody may read',
    script: 'cd /output; mkdir d; echo x > f; echo x > d/g; chmod 000 f d/g d; chmod 000 /output',
    output: { 'd/': null, 'd/g': 'x\n', f: 'x\n' },
  },
  {
    what: 'files that take rights along',
    script: 'cd /output; echo x > suid; chmod 7755 suid; mkdir d; chmod 7777 d',
    output: { 'd/': null, suid: 'x\n' },
  },
  {
    what: 'a file that is still being written when the main process ends',
    script:
      '(while :; do printf 1234567 >> /output/grows; done) & usleep 300000; printf x > /output/x',
    output: { x: 'x', grows: (content) => /^(1234567)+$/.test(content) },
  },
  {
    what: 'a folder that was emptied, removed, and replaced, as far as that goes',
    script: `echo x > /output/x; rm -rf /output/* /output; mv /output /elsewhere; ln -s /etc /output
      rm /output/etc; ls -A /output; true`,
    output: {},
  },
  {
    what: 'a log of a gibibyte in one line',
    script: `yes | tr -d '\\n' | head -c 1073741824; echo x > /output/x`,
    output: { x: 'x\n' },
    log: /y{1000}[^]*\n\[job-consumer\] the output of the container is longer: this is its end\n$/,
  },
  {
    what: 'a zip that is a bomb, and archives in archives',
    script: 'cp /input/bomb.zip /output/',
    files: { 'bomb.zip': bomb },
    output: { 'bomb.zip': bomb.toString('latin1') },
  },
  {
    what: 'a main process that closes its outputs',
    script: 'exec >&- 2>&- <&-; echo x > /output/x',
    output: { x: 'x\n' },
  },
  {
    what: 'times before and behind all clocks',
    script: `cd /output; echo x > old; touch -d '1905-01-01 00:00' old; echo x > new
      touch -d '2440-01-01 00:00' new`,
    output: { old: 'x\n', new: 'x\n' },
  },
];

function descend(name: string, depth: number): string {
  return `cd /output; i=0; while [ $i -lt ${depth} ]; do mkdir ${name}; cd ${name}; i=$((i+1)); done`;
}

/** Ten million zeros, in a zip, in a zip. */
function makeBomb(): Buffer {
  const inner = new AdmZip();
  inner.addFile('zeros', Buffer.alloc(10_000_000));
  const outer = new AdmZip();
  outer.addFile('inner.zip', inner.toBuffer());
  outer.addFile('../up', Buffer.from('x'));
  return outer.toBuffer();
}
