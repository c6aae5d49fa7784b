"""What stands in a backup of the system for whoever has the file and no backupflow."""

from __future__ import annotations

from typing import Final

README: Final = """\
This is a backup of a whole backupflow, {program}, made {made_at}.
Who has it, opened, has every configuration and every login in it: treat it as what it is.

  backup.json     versions of the program, of its schema, of PostgreSQL and OpenBao
  secrets/        the key of OpenBao's seal (32 bytes), the installer's login, the secret that events are signed with
  settings.env    the settings of then
  database/       PostgreSQL's dump (pg_dump, custom format), in parts
  vault/          OpenBao's raft snapshot, in parts
  manifest.json   length and SHA-256 of each of them; if it is missing, the file is not whole

With backupflow:  backupflow --data-dir EMPTY_FOLDER backup-system restore FILE

By hand, with age, PostgreSQL {postgres} and OpenBao {openbao}, or newer:

 1. age -d -i KEY FILE | tar x         (a passphrase: age -d FILE | tar x)
    cat database/* > database.dump; cat vault/* > vault.snap; sha256sum database.dump vault.snap
    Compare the sums with manifest.json.
 2. PostgreSQL: make the login roles backupflow_migrator, _scheduler, _enroller, _collector, _ingester, _interpreter,
    _reader and _operator and a database that backupflow_migrator owns, then as that role:
    pg_restore --exit-on-error --no-owner -d DATABASE database.dump
 3. OpenBao: start a new one with raft storage and, in its configuration, the seal of then:
      seal "static" {{ current_key_id = "{key_id}"   current_key = "file:///path/to/secrets/seal.key" }}
    Initialise it (bao operator init), log in with the root token that it gives, and then
      bao operator raft snapshot restore vault.snap
    From now on it has the keys and the logins of then: secrets/installer.openbao is one that may give new logins to
    the roles backupflow-*, and to a role of its own the right to decrypt.
 4. A configuration is a row of `content`: ask OpenBao to decrypt it
      bao write transit/decrypt/data-TENANT_ID ciphertext=... context=BASE64_OF_THE_16_BYTES_OF_THE_DEVICE_ID
    What comes out, decoded from base64, is an envelope: a header in JSON and the export, compressed.
"""


def readme(program: str, postgres: str, openbao: str, made_at: str, key_id: str) -> str:
    """The text; `key_id` is what OpenBao's configuration calls the key of the seal."""
    return README.format(program=program, postgres=postgres, openbao=openbao, made_at=made_at, key_id=key_id)
