import Type, { type TSchema } from 'typebox';
import Value from 'typebox/value';
import { Capability, NetworkName } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';

/**
 * Throws INTERNAL unless what an engine is asked to create is within the sandbox, whatever the code before
 * this made of it: what is not listed here is nothing that a container of ours can have.
 */
export function requireSandbox(asked: unknown): void {
  requireForm(Container, asked, 'a container outside the sandbox');
  const { HostConfig, NetworkDisabled } = asked as Asked;
  const { NetworkMode, PidMode, UsernsMode, CapAdd = [] } = HostConfig;
  const { Mounts, Memory, MemorySwap, Ulimits } = HostConfig;
  const hasNoCore = Ulimits.some(({ Name, Hard }) => Name === 'core' && Hard === 0);
  if (!hasNoCore) throw outside('a container that may leave a core');
  if (Memory !== MemorySwap) throw outside('a container with swap');
  if (NetworkDisabled !== (NetworkMode === 'none')) throw outside('a container with a network');
  // It sees the host's processes, and nobody's data.
  const hasMore = Mounts.length > 0 || NetworkMode !== 'none' || CapAdd.length > 0;
  if (PidMode !== undefined && hasMore) {
    throw outside('a container that sees the host, with anything else');
  }
  if (UsernsMode !== PidMode) throw outside('a container that shares the users of the host');
}

/** A volume of the local driver with options would be a folder of the host's. */
export function requirePlainVolume(asked: unknown): void {
  requireForm(Volume, asked, 'a volume that is none of ours');
}

/** Anything but a bridge without a way out would be a way out, or a part of the host's network. */
export function requireInternalNetwork(asked: unknown): void {
  requireForm(Network, asked, 'a network that is none of ours');
}

/** A container in a network, or out of it, with nothing of its own there: no address, no other name. */
export function requirePlainJoin(asked: unknown): void {
  requireForm(Join, asked, 'a place in a network that is none of ours');
}

/** A command within a container's sandbox, as its user. */
export function requirePlainCommand(asked: unknown): void {
  requireForm(Command, asked, 'a command outside the sandbox');
}

function requireForm(schema: TSchema, asked: unknown, what: string): void {
  const problems = Value.Errors(schema, asked);
  if (problems.length === 0) return;
  const places = problems.map(({ instancePath }) => instancePath);
  throw outside(`${what}: ${[...new Set(places)].join(', ')}`);
}

function outside(what: string): AppError {
  return new AppError('INTERNAL', `The engine is not asked for ${what}.`);
}

const only = { additionalProperties: false } as const;
const Amount = Type.Integer({ minimum: 1 });
const Texts = Type.Array(Type.String());
const Labels = Type.Record(Type.String(), Type.String());
/** With a slash in it, it would be a folder of the host's. */
const VolumeName = Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9_.-]+$' });

const Mount = Type.Object(
  {
    Type: Type.Literal('volume'),
    Source: VolumeName,
    Target: Type.String({ pattern: '^/' }),
    ReadOnly: Type.Boolean(),
    VolumeOptions: Type.Object(
      {
        NoCopy: Type.Literal(true),
        Labels: Type.Object({}, only),
        DriverConfig: Type.Object(
          { Name: Type.Literal('local'), Options: Type.Object({}, only) },
          only,
        ),
      },
      only,
    ),
  },
  only,
);

/** By name: a count would let the engine choose, and no driver but these two gives a device of the host's. */
const DeviceRequest = Type.Object(
  {
    Driver: Type.Union([Type.Literal('nvidia'), Type.Literal('cdi')]),
    DeviceIDs: Type.Array(Type.String({ minLength: 1 }), { minItems: 1 }),
    Capabilities: Type.Optional(Type.Tuple([Type.Tuple([Type.Literal('gpu')])])),
  },
  only,
);

const HostConfig = Type.Object(
  {
    NetworkMode: Type.Union([Type.Literal('none'), NetworkName]),
    // Nobody, rather than whom the host asks.
    Dns: Type.Optional(Type.Tuple([Type.Literal('192.0.2.1')])),
    DnsOptions: Type.Optional(Type.Tuple([Type.Literal('timeout:1'), Type.Literal('attempts:1')])),
    DnsSearch: Type.Optional(Type.Tuple([Type.Literal('.')])),
    CapAdd: Type.Optional(Type.Array(Capability)),
    CapDrop: Type.Tuple([Type.Literal('ALL')]),
    SecurityOpt: Type.Tuple([Type.Literal('no-new-privileges:true')]),
    Init: Type.Literal(true),
    PidsLimit: Amount,
    Memory: Amount,
    MemorySwap: Amount,
    NanoCpus: Amount,
    CpuShares: Amount,
    ShmSize: Amount,
    IpcMode: Type.Literal('private'),
    CgroupnsMode: Type.Optional(Type.Literal('private')),
    PidMode: Type.Optional(Type.Literal('host')),
    UsernsMode: Type.Optional(Type.Literal('host')),
    Runtime: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9_.-]*$' })),
    ReadonlyRootfs: Type.Optional(Type.Literal(true)),
    Tmpfs: Type.Optional(
      Type.Record(
        Type.String({ pattern: '^/' }),
        Type.String({ pattern: '^rw,nosuid,nodev,exec,mode=1777,size=\\d+$' }),
      ),
    ),
    RestartPolicy: Type.Object({ Name: Type.Literal('no') }, only),
    Ulimits: Type.Array(
      Type.Object({ Name: Type.String(), Soft: Type.Integer(), Hard: Type.Integer() }, only),
    ),
    LogConfig: Type.Object(
      {
        Type: Type.Literal('json-file'),
        Config: Type.Object({ 'max-size': Type.String(), 'max-file': Type.Literal('2') }, only),
      },
      only,
    ),
    Mounts: Type.Array(Mount),
    DeviceRequests: Type.Optional(Type.Array(DeviceRequest)),
  },
  only,
);

const Container = Type.Object(
  {
    Image: Type.String({ minLength: 1 }),
    Labels,
    Env: Texts,
    NetworkDisabled: Type.Boolean(),
    // Never root: that an image's may be is for the policy to say.
    User: Type.Optional(Type.String({ pattern: '^[1-9]\\d*(?::[A-Za-z0-9_.-]+)?$' })),
    Entrypoint: Type.Optional(Texts),
    Cmd: Type.Optional(Type.Tuple([])),
    HostConfig,
  },
  only,
);
type Asked = Type.Static<typeof Container>;

const Volume = Type.Object({ Name: VolumeName, Driver: Type.Literal('local'), Labels }, only);

const octet = '(?:\\d|[1-9]\\d|1\\d\\d|2[0-4]\\d|25[0-5])';
const address = `${octet}(?:\\.${octet}){3}`;

const Network = Type.Object(
  {
    Name: NetworkName,
    CheckDuplicate: Type.Literal(true),
    Driver: Type.Literal('bridge'),
    Internal: Type.Literal(true),
    Attachable: Type.Literal(false),
    Ingress: Type.Literal(false),
    EnableIPv6: Type.Literal(false),
    IPAM: Type.Object(
      {
        Driver: Type.Literal('default'),
        Config: Type.Tuple([
          Type.Object(
            {
              Subnet: Type.String({ pattern: `^${address}/(?:[12]\\d|[89])$` }),
              // Where all goes that is for nobody in it.
              AuxiliaryAddresses: Type.Object(
                { DefaultGatewayIPv4: Type.String({ pattern: `^${address}$` }) },
                only,
              ),
            },
            only,
          ),
        ]),
      },
      only,
    ),
    // It would let the host's bridge be one that somebody else has made, or have another address.
    Options: Type.Object(
      { 'com.docker.network.bridge.name': Type.String({ pattern: '^isr-[0-9a-f]{8}$' }) },
      only,
    ),
    Labels,
  },
  only,
);

const Join = Type.Object(
  {
    Container: Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9_.-]*$' }),
    Force: Type.Optional(Type.Literal(true)),
  },
  only,
);

const Command = Type.Object(
  { AttachStdout: Type.Literal(true), AttachStderr: Type.Literal(true), Cmd: Texts },
  only,
);
