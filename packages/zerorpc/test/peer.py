"""A ZeroRPC client written from the wire page, which shares no code with the server.

python3 peer.py ADDRESS: commands come as lines of JSON, and what comes from the server goes out as lines of
JSON. One process is many clients, each with a DEALER socket of its own. It does what it is told and nothing by itself,
but for heartbeats that were asked for.
"""
import json
import os
import sys
import threading
import time

import msgpack
import zmq

context = zmq.Context()
poller = zmq.Poller()
clients = {}
proxies = []
beats = {}


def tell(value):
    sys.stdout.write(json.dumps(value, default=tagged) + '\n')
    sys.stdout.flush()


def tagged(value):
    if isinstance(value, bytes):
        return {'$bin': value.hex()}
    raise TypeError(type(value).__name__)


def exact(value):
    """As JSON can tell it: integers that a double does not hold are told as digits, floats by their type."""
    if isinstance(value, bool) or not isinstance(value, (int, float, list, dict)):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else {'$int': str(value)}
    if isinstance(value, float):
        return {'$float': repr(value)}
    if isinstance(value, list):
        return [exact(one) for one in value]
    return {str(key): exact(one) for key, one in value.items()}


def plain(value):
    if isinstance(value, list):
        return [plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    if '$bin' in value:
        return bytes.fromhex(value['$bin'])
    if '$int' in value:
        return int(value['$int'])
    if '$times' in value:
        return [plain(value['of'])] * value['$times']
    if '$bytes' in value:
        return b'\x07' * value['$bytes']
    return {key: plain(one) for key, one in value.items()}


def client(name):
    return clients[name] if name in clients else open_client({'client': name})


def open_client(command):
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    address = open_proxy() if command.get('proxied') else sys.argv[1]
    for option, value in command.get('options', {}).items():
        socket.setsockopt(getattr(zmq, option), value.encode() if isinstance(value, str) else value)
    socket.connect(address)
    clients[command['client']] = socket
    poller.register(socket, zmq.POLLIN)
    return socket


def open_proxy():
    """One for all clients that ask for it, on one connection to the server."""
    address = 'inproc://proxy'
    if not proxies:
        front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
        front.bind(address)
        back.linger = 0
        back.connect(sys.argv[1])
        proxies.append(threading.Thread(target=zmq.proxy, args=(front, back), daemon=True))
        proxies[0].start()
    return address


def send(command):
    """One message: [header, name, args]."""
    message = [plain(command['header']), plain(command['name']), plain(command['args'])]
    client(command['client']).send_multipart([b'', msgpack.packb(message, use_bin_type=True)])


def frames(command):
    for _ in range(command.get('times', 1)):
        client(command['client']).send_multipart([bytes.fromhex(one) for one in command['frames']])


def beat(command):
    """Heartbeats on a channel, from now on."""
    beats[(command['client'], json.dumps(command['channel']))] = {**command, 'next': 0, 'sent': 0}


def still(command):
    for key in [key for key in beats if key[0] == command['client']]:
        del beats[key]


def pause(command):
    poller.unregister(client(command['client']))


def resume(command):
    poller.register(client(command['client']), zmq.POLLIN)


def close(command):
    socket = clients.pop(command['client'])
    if socket in poller:
        poller.unregister(socket)
    socket.close(0)


COMMANDS = {'open': open_client, 'send': send, 'frames': frames, 'beat': beat, 'still': still,
            'pause': pause, 'resume': resume, 'close': close}


def send_beats():
    now = time.monotonic()
    for one in beats.values():
        if now >= one['next']:
            one['next'] = now + one['every']
            one['sent'] += 1
            header = {'message_id': 'beat%d' % one['sent'], 'v': 3, 'response_to': one['channel']}
            send({**one, 'header': header, 'name': '_zpc_hb', 'args': [one.get('slots', 0)]})


def receive(name, socket):
    parts = socket.recv_multipart()
    assert len(parts) == 2 and parts[0] == b'', 'an empty frame, then one frame'
    header, event, args = msgpack.unpackb(parts[1], raw=False, strict_map_key=False)
    assert set(header) == {'message_id', 'v', 'response_to'} and header['v'] == 3, header
    if command_flags['sizes']:
        args = len(parts[1])
    tell({'client': name, 'id': header['message_id'], 'to': header['response_to'],
          'name': event, 'args': exact(args)})


command_flags = {'sizes': len(sys.argv) > 2 and sys.argv[2] == 'sizes'}
poller.register(sys.stdin.fileno(), zmq.POLLIN)
rest = b''
tell({'client': -1, 'id': '', 'to': '', 'name': 'ready', 'args': None})
while True:
    ready = dict(poller.poll(10 if beats else None))
    if sys.stdin.fileno() in ready:
        came = os.read(sys.stdin.fileno(), 1 << 20)
        if not came:
            break
        *lines, rest = (rest + came).split(b'\n')
        for line in lines:
            told = json.loads(line)
            COMMANDS[told['do']](told)
    for name, socket in list(clients.items()):
        if socket in ready and socket in poller:
            receive(name, socket)
    send_beats()
