"""Values in the rtnetlink templates that stand for what is patched in; each occurs once for each such thing."""

PID, MASTER, INDEX = 0x7A01B2C3, 0x7A02B2C3, 0x7A03B2C3
NAME, PEER = "v0000000", "eth0000"
MAC, ADDRESS, PREFIX = "02:42:fe:dc:ba:98", "254.220.186.152", 0x7B
