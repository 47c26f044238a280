"""In place of the package `zerorpc`, written from the wire page: as much of its client as a program of a few calls uses."""
import uuid

import msgpack
import zmq


class RemoteError(Exception):
    pass


class Client:
    def __init__(self, address, timeout=30):
        self._timeout = timeout
        self._socket = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(address)

    def __getattr__(self, method):
        return lambda *args: self._call(method, args)

    def _call(self, method, args):
        header = {'message_id': uuid.uuid4().hex.encode(), 'v': 3}
        self._socket.send_multipart([b'', msgpack.packb([header, method, args], use_bin_type=True)])
        while self._socket.poll(self._timeout * 1000):
            _, frame = self._socket.recv_multipart()
            answer, event, values = msgpack.unpackb(frame, raw=False)
            if answer['response_to'] != header['message_id'] or event == '_zpc_hb':
                continue
            if event != 'OK':
                raise RemoteError(*values)
            return values[0]
        raise TimeoutError()
