"""A test authority and its certificates, made by the openssl command in the state directory."""
import os
import subprocess
import tempfile

GOOD_NAMES = 'DNS:localhost,IP:127.0.0.1,IP:::1'
WRONG_NAMES = 'DNS:elsewhere.example'
# kind -> (authority, names, days)
KINDS = {'good': ('ca', GOOD_NAMES, 3650), 'untrusted': ('wrong-ca', GOOD_NAMES, 3650),
         'wrong_host': ('ca', WRONG_NAMES, 3650), 'expired': ('ca', GOOD_NAMES, -1)}


def _openssl(*arguments):
    done = subprocess.run(('openssl',) + arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit('openssl %s failed: %s' % (arguments[0], done.stdout))


def _authority(directory, name):
    """NAME.pem and NAME.key, a self-signed authority."""
    pem, key = os.path.join(directory, name + '.pem'), os.path.join(directory, name + '.key')
    if not os.path.exists(pem):
        _openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key,
                 '-out', pem + '.part', '-days', '3650', '-subj', '/CN=profenrich stand-in ' + name,
                 '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign')
        os.replace(pem + '.part', pem)


def ensure_authorities(directory):
    """ca.pem, which signs what is served, and wrong-ca.pem, which does not."""
    _authority(directory, 'ca')
    _authority(directory, 'wrong-ca')


def make(directory, kind):
    """The certificate chain file and the key file of a kind."""
    authority, names, days = KINDS[kind]
    pem, key = (os.path.join(directory, 'server-%s.%s' % (kind, end)) for end in ('pem', 'key'))
    if os.path.exists(pem):
        return pem, key
    request = os.path.join(directory, 'server-%s.csr' % kind)
    _openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', request,
             '-subj', '/CN=localhost')
    with tempfile.NamedTemporaryFile('w', suffix='.cnf', dir=directory) as extensions:
        extensions.write('subjectAltName=%s\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n' % names)
        extensions.flush()
        _openssl('x509', '-req', '-in', request, '-CA', os.path.join(directory, authority + '.pem'),
                 '-CAkey', os.path.join(directory, authority + '.key'), '-set_serial', str(int.from_bytes(os.urandom(8), 'big')),
                 '-out', pem + '.part', '-days', str(days), '-extfile', extensions.name)
    os.replace(pem + '.part', pem)
    os.unlink(request)
    return pem, key
