"""A ZeroRPC client as its users have it, written from the wire page. It shares no code with the server.

python3 client.py ADDRESS OPTIONS METHOD ARGUMENT...: OPTIONS is a JSON object (`v`: the protocol's version, `passive`:
heartbeats begin with the server's first, `silent`: none are sent, `timeout`: in seconds, `ahead`: how many items of a
stream it takes, `stall`: [how many items it reads before it stops, for how many seconds], `times`: so many calls, one
after another), an argument a value in JSON. What comes is printed as lines of JSON, with the seconds since the call.
"""
import json
import sys
import time
import uuid

import msgpack
import zmq

BEAT = 5


class LostRemote(Exception):
    pass


class RemoteError(Exception):
    pass


class Channel:
    """One call: it is opened, beats, and takes what comes until the end."""

    def __init__(self, socket, name, args, options):
        self.socket = socket
        self.options = options
        self.began = time.monotonic()
        self.id = uuid.uuid4().hex.encode()
        self.heard = None if options.get('passive') else self.began
        self.next_beat = None if options.get('passive') else self.began + BEAT
        self.emit(name, args, {'message_id': self.id})

    def emit(self, name, args, header):
        message = [{**header, 'v': self.options.get('v', 3)}, name, args]
        self.socket.send_multipart([b'', msgpack.packb(message, use_bin_type=True)])

    def say(self, name, args):
        self.emit(name, args, {'message_id': uuid.uuid4().hex.encode(), 'response_to': self.id})

    def beat(self):
        now = time.monotonic()
        if self.next_beat is None or now < self.next_beat:
            return
        if now > self.heard + 3 * BEAT:
            raise LostRemote('Lost remote after 10s heartbeat')
        self.next_beat = now + BEAT
        if not self.options.get('silent'):
            self.say('_zpc_hb', [0])

    def events(self):
        """What comes on the channel but for heartbeats, which are told and counted."""
        while True:
            self.beat()
            if time.monotonic() > self.began + self.options.get('timeout', 30):
                raise TimeoutError()
            if not self.socket.poll(50):
                continue
            empty, frame = self.socket.recv_multipart()
            assert empty == b''
            header, name, args = msgpack.unpackb(frame, raw=False)
            if header.get('response_to') != self.id:
                continue
            assert header['v'] == 3 and header['message_id'] != self.id
            self.heard = time.monotonic()
            if self.next_beat is None:
                self.next_beat = self.heard
            if name == '_zpc_hb':
                assert args == [0]
                self.tell('beat', None)
            else:
                yield name, args

    def tell(self, what, value):
        print(json.dumps([what, value, round(time.monotonic() - self.began, 2)]), flush=True)

    def stall(self, seconds):
        """Reads nothing and grants nothing, and beats all the same. What it does not read, it does not miss."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.heard = time.monotonic()
            self.beat()
            time.sleep(0.1)

    def result(self):
        room = 1
        count = 0
        for name, args in self.events():
            if name == 'OK':
                return args[0]
            if name == 'ERR':
                raise RemoteError(*args)
            if name == 'STREAM_DONE':
                assert args is None
                return count
            assert name == 'STREAM', name
            assert room > 0, 'more came than there was room for'
            assert args == count, 'items come in order'
            count += 1
            room -= 1
            if [count] == self.options.get('stall', [])[:1]:
                self.stall(self.options['stall'][1])
            if room == 0:
                room = self.options.get('ahead', 100)
                self.say('_zpc_more', [room])
        raise AssertionError('the events have an end')


address, options, method, *rest = sys.argv[1:]
options = json.loads(options)
socket = zmq.Context().socket(zmq.DEALER)
socket.linger = 0
socket.connect(address)
arguments = [json.loads(one) for one in rest]
for _ in range(options.get('times', 1)):
    channel = Channel(socket, method, arguments, options)
    try:
        value = channel.result()
        if 'times' not in options:
            channel.tell('result', value)
    except Exception as error:
        channel.tell(type(error).__name__, [str(one) for one in error.args])
if 'times' in options:
    print(json.dumps(options['times']))
