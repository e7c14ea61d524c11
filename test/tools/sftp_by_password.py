#!/usr/bin/python3
"""An SFTP server on the loopback address that knows one user, by password alone: OpenSSH's asks the machine for its users.

usage: sftp_by_password.py PORT HOST_KEY USER
The password is the first line of its standard input, with which it ends. Says "listening" when it does."""
import asyncio
import hmac
import sys

import asyncssh

port, host_key, user = sys.argv[1:]
password = sys.stdin.readline().rstrip('\n')


class Server(asyncssh.SSHServer):
    def begin_auth(self, username):
        return True

    def password_auth_supported(self):
        return True

    def validate_password(self, username, given):
        return username == user and hmac.compare_digest(given.encode(), password.encode())


async def main():
    await asyncssh.create_server(Server, '127.0.0.1', int(port), server_host_keys=[host_key], sftp_factory=True)
    print('listening', flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
