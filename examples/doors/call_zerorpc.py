import os

import zerorpc

client = zerorpc.Client(os.getenv("ZERORPC_ADDRESS", "tcp://127.0.0.1:4242"))
client.authenticate(os.environ["API_KEY"])
print(*client.iris_predict({"measurements": [[5.1, 3.5, 1.4, 0.2]]})["species"])
