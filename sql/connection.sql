-- Servers, user mappings, and what stands between a secret and the wrong host. No network.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS profenrich;
RESET client_min_messages;
\set VERBOSITY default

-- Options: unknown ones, wrong values.
CREATE SERVER aep FOREIGN DATA WRAPPER experience_platform OPTIONS (organisation 'x');
\echo :LAST_ERROR_SQLSTATE
CREATE SERVER aep FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id 'acme');
\echo :LAST_ERROR_SQLSTATE
CREATE SERVER aep FOREIGN DATA WRAPPER experience_platform OPTIONS (sandbox 'My Sandbox');
CREATE SERVER aep FOREIGN DATA WRAPPER experience_platform OPTIONS (requests_per_second '-1');
CREATE SERVER aep FOREIGN DATA WRAPPER experience_platform OPTIONS (messages_per_second 'nan');
CREATE SERVER aep FOREIGN DATA WRAPPER experience_platform OPTIONS (ca_file 'ca.pem');
CREATE SERVER aep FOREIGN DATA WRAPPER experience_platform OPTIONS (platform_url 'http://platform.adobe.io');
CREATE SERVER aep FOREIGN DATA WRAPPER experience_platform OPTIONS (platform_url 'https://user:hush@platform.adobe.io');
CREATE SERVER aep FOREIGN DATA WRAPPER experience_platform OPTIONS (platform_url 'https://platform.adobe.io/?key=hush');
CREATE SERVER aep FOREIGN DATA WRAPPER experience_platform OPTIONS (platform_url 'platform.adobe.io');
CREATE SERVER aep FOREIGN DATA WRAPPER experience_platform OPTIONS (ims_url 'ftp://127.0.0.1');
CREATE SERVER aep FOREIGN DATA WRAPPER experience_platform OPTIONS (ims_url 'http://127.0.0.1:8080');
SET profenrich.allow_insecure_loopback = on;
CREATE SERVER loopback FOREIGN DATA WRAPPER experience_platform OPTIONS (ims_url 'http://127.0.0.1:8080');
CREATE SERVER elsewhere FOREIGN DATA WRAPPER experience_platform OPTIONS (ims_url 'http://127.0.0.1.example.com');
RESET profenrich.allow_insecure_loopback;
DROP SERVER loopback;
CREATE SERVER aep FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id '0123456789ABCDEF01234567@AdobeOrg', sandbox 'dev-1');
CREATE FOREIGN TABLE profiles (id int) SERVER aep;
\echo :LAST_ERROR_SQLSTATE
ALTER FOREIGN DATA WRAPPER experience_platform OPTIONS (debug 'on');

-- User mappings. A secret in an option needs the superuser's leave, and is warned of.
CREATE USER MAPPING FOR CURRENT_USER SERVER aep OPTIONS (client_id 'me', password 'hush');
\echo :LAST_ERROR_SQLSTATE
CREATE USER MAPPING FOR CURRENT_USER SERVER aep OPTIONS (client_id 'me', client_secret 'hush');
\echo :LAST_ERROR_SQLSTATE
CREATE USER MAPPING FOR CURRENT_USER SERVER aep OPTIONS (client_id 'me', secret_file '../secret');
CREATE USER MAPPING FOR CURRENT_USER SERVER aep OPTIONS (client_id 'me', secret_file '.secret');
CREATE USER MAPPING FOR CURRENT_USER SERVER aep OPTIONS (client_id 'me', secret_file '/etc/passwd');
CREATE USER MAPPING FOR CURRENT_USER SERVER aep OPTIONS (client_id E'me\nX-Evil: 1');
SET profenrich.allow_secret_option = on;
CREATE USER MAPPING FOR CURRENT_USER SERVER aep OPTIONS (client_id 'me', client_secret 'hush', secret_file 'hush');
CREATE USER MAPPING FOR CURRENT_USER SERVER aep OPTIONS (client_id 'me', client_secret 'hush');
RESET profenrich.allow_secret_option;
-- The setting is asked again when the secret would be used.
SELECT * FROM profenrich.check_connection('aep');
DROP USER MAPPING FOR CURRENT_USER SERVER aep;

-- Steps that fail are rows; those after them are skipped.
SELECT * FROM profenrich.check_connection('nowhere');
SELECT * FROM profenrich.check_connection('aep');
CREATE USER MAPPING FOR CURRENT_USER SERVER aep;
SELECT step, ok, detail FROM profenrich.check_connection('aep') LIMIT 1;
ALTER USER MAPPING FOR CURRENT_USER SERVER aep OPTIONS (ADD client_id 'me', ADD secret_file 'aep-dev');
SELECT step, ok, detail FROM profenrich.check_connection('aep') LIMIT 2;
CREATE SERVER nameless FOREIGN DATA WRAPPER experience_platform;
SELECT step, ok, detail FROM profenrich.check_connection('nameless') LIMIT 1;
DROP SERVER nameless;
SELECT profenrich.platform_profile('aep', 'CRMID', NULL);

-- A server of another wrapper is none of ours.
CREATE FOREIGN DATA WRAPPER other;
CREATE SERVER other FOREIGN DATA WRAPPER other;
SELECT * FROM profenrich.datasets('other');
\echo :LAST_ERROR_SQLSTATE
DROP FOREIGN DATA WRAPPER other CASCADE;
SELECT * FROM profenrich.identity_namespaces('nowhere');
\echo :LAST_ERROR_SQLSTATE

-- Secret files: made here in the server's data directory, read when a token is needed.
SELECT current_setting('data_directory') || '/secrets' AS secrets \gset
\setenv SECRETS :secrets
\! umask 077; mkdir "$SECRETS"
SET profenrich.secret_directory = 'secrets';
SET profenrich.secret_directory = :'secrets';
CREATE FUNCTION secret_step() RETURNS text LANGUAGE sql AS
	$$SELECT CASE WHEN ok THEN 'ok: ' ELSE '' END || detail FROM profenrich.check_connection('aep') WHERE step = 'secret'$$;
-- An address that answers nothing: this script never leaves the machine.
ALTER SERVER aep OPTIONS (ADD ims_url 'https://127.0.0.1:1', ADD platform_url 'https://127.0.0.1:1', ADD collection_url 'https://127.0.0.1:1');
SELECT secret_step();
\! printf 'client_secret = hush\n' >"$SECRETS/aep-dev"; chmod 644 "$SECRETS/aep-dev"
SELECT secret_step();
\! chmod 600 "$SECRETS/aep-dev"
SELECT secret_step();
\! printf 'org_id = AAAA@AdobeOrg\nhosts = 127.0.0.1\nclient_secret = hush\n' >"$SECRETS/aep-dev"
SELECT secret_step();
\! printf 'org_id = 0123456789ABCDEF01234567@AdobeOrg\nhosts = ims-na1.adobelogin.com, platform.adobe.io\nclient_secret = hush\n' >"$SECRETS/aep-dev"
SELECT secret_step();
\! printf 'hush\n' >"$SECRETS/aep-dev"
SELECT secret_step();
\! printf 'hush = hush\n' >"$SECRETS/aep-dev"
SELECT secret_step();
\! rm "$SECRETS/aep-dev"; mkdir "$SECRETS/aep-dev"; chmod 700 "$SECRETS/aep-dev"
SELECT secret_step();
\! rmdir "$SECRETS/aep-dev"; mkfifo -m 600 "$SECRETS/aep-dev"
SELECT secret_step();
\! rm "$SECRETS/aep-dev"; printf '# for the tests\norg_id = 0123456789ABCDEF01234567@AdobeOrg\nhosts = example.com, 127.0.0.1\nclient_secret = hush\n' >"$SECRETS/real"; chmod 600 "$SECRETS/real"; ln -s real "$SECRETS/aep-dev"
SELECT secret_step();
\! rm "$SECRETS/aep-dev"; mv "$SECRETS/real" "$SECRETS/aep-dev"
SELECT secret_step();
\! chmod 777 "$SECRETS"
SELECT secret_step();
\! chmod 700 "$SECRETS"
-- Readable and going nowhere: the next step fails, and no later one is tried.
SET profenrich.allow_private_addresses = on;
SELECT step, ok, detail = 'skipped' AS skipped FROM profenrich.check_connection('aep');

-- Who may do what. Without USAGE, or without a mapping of one's own, there is no way in.
CREATE ROLE regress_pe_analyst IN ROLE profenrich_analyst;
CREATE ROLE regress_pe_admin IN ROLE profenrich_admin;
SET ROLE regress_pe_analyst;
CREATE SERVER mine FOREIGN DATA WRAPPER experience_platform;
SELECT step, ok, detail FROM profenrich.check_connection('aep') LIMIT 1;
SELECT profenrich.platform_profile('aep', 'CRMID', 'C-1');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER aep TO regress_pe_analyst;
SET ROLE regress_pe_analyst;
SELECT step, ok, detail FROM profenrich.check_connection('aep') LIMIT 1;
-- Another's secret, at one's own host: not by mapping, not by server, not by altering one that is given away.
CREATE USER MAPPING FOR CURRENT_USER SERVER aep OPTIONS (client_id 'me', secret_file 'aep-dev');
\echo :LAST_ERROR_SQLSTATE
CREATE USER MAPPING FOR CURRENT_USER SERVER aep OPTIONS (client_id 'me');
ALTER USER MAPPING FOR CURRENT_USER SERVER aep OPTIONS (ADD secret_file 'aep-dev');
DROP USER MAPPING FOR CURRENT_USER SERVER aep;
RESET ROLE;
GRANT USAGE ON FOREIGN DATA WRAPPER experience_platform TO regress_pe_analyst;
SET ROLE regress_pe_analyst;
CREATE SERVER mine FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id '0123456789ABCDEF01234567@AdobeOrg', ims_url 'https://evil.example.com');
\echo :LAST_ERROR_SQLSTATE
CREATE SERVER mine FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id '0123456789ABCDEF01234567@AdobeOrg', sandbox 'prod');
ALTER SERVER mine OPTIONS (ADD platform_url 'https://evil.example.com');
ALTER SERVER mine OPTIONS (ADD ca_file '/tmp/evil.pem');
ALTER SERVER mine OPTIONS (SET sandbox 'dev');
RESET ROLE;
-- A mapping that an administrator made at that server still sends its secret only where its file says.
ALTER SERVER mine OPTIONS (ADD ims_url 'https://evil.example.com');
CREATE USER MAPPING FOR regress_pe_analyst SERVER mine OPTIONS (client_id 'me', secret_file 'aep-dev');
SET ROLE regress_pe_analyst;
SELECT step, ok, detail FROM profenrich.check_connection('mine') LIMIT 2;
-- Nor by taking the hosts away again, which only an administrator may.
ALTER SERVER mine OPTIONS (SET ims_url 'https://evil.example.org');
SET profenrich.secret_directory = '/tmp';
SET profenrich.allow_secret_option = on;
SET profenrich.allow_insecure_loopback = on;
RESET ROLE;
-- The mapping for PUBLIC serves those who have none of their own.
CREATE USER MAPPING FOR PUBLIC SERVER aep OPTIONS (client_id 'everyone', secret_file 'aep-dev');
SET ROLE regress_pe_analyst;
SELECT step, ok, detail FROM profenrich.check_connection('aep') LIMIT 2;
RESET ROLE;
-- An administrator sets hosts and files without being superuser.
GRANT USAGE ON FOREIGN SERVER aep TO regress_pe_admin;
SET ROLE regress_pe_admin;
CREATE SERVER admins FOREIGN DATA WRAPPER experience_platform OPTIONS (org_id '0123456789ABCDEF01234567@AdobeOrg', platform_url 'https://platform-stage.adobe.io/', ca_file '/nowhere/ca.pem');
CREATE USER MAPPING FOR CURRENT_USER SERVER admins OPTIONS (client_id 'me', secret_file 'aep-dev');
SELECT step, ok, detail FROM profenrich.check_connection('admins') LIMIT 3;
DROP SERVER admins CASCADE;
RESET ROLE;

-- Only names and never a secret are in the catalogues.
SELECT count(*) FROM pg_user_mappings WHERE umoptions::text ~ 'hush';

\! rm -r "$SECRETS"
DROP FUNCTION secret_step();
SET client_min_messages = warning;
DROP EXTENSION profenrich CASCADE;
DROP ROLE regress_pe_analyst, regress_pe_admin;
