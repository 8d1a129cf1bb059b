"""Ansible gives up or loses its connection in the middle of a restore of real Cassandra."""

import json
import os
import subprocess
import unittest

import rig

HOST = "cassandra-backup-cut-host"
node = None


def setUpModule():
    global node
    node = rig.Node("cut")
    node.write("archived")
    node.backup("good")
    node.write("previous", rows=300)
    key = node.folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    # It has the node's directories where this machine has them, and sees the processes of the containers.
    rig.docker("rm", "--force", HOST, check=False)
    rig.docker(
        "run", "--detach", "--init", "--name", HOST, "--label", rig.LABEL, "--pid", "host", "--cap-add", "SYS_PTRACE",
        "--volume", f"{node.folder}:{node.folder}", "--volume", "/var/run/docker.sock:/var/run/docker.sock",
        "--volume", f"{key}.pub:/etc/ssh/authorized_keys:ro", "--entrypoint", "sh", rig.IMAGE, "-c",
        "mkdir -p /run/sshd; exec sleep infinity",
    )
    library = node.folder / "library"
    library.mkdir()
    for name in ["cassandra_restore", "cassandra_backup_info"]:
        os.link(rig.program(), library / name)
    # Neither address nor port: a connection is an sshd of its own in the container.
    proxy = f'-o ProxyCommand="docker exec -i {HOST} /usr/sbin/sshd -i -o AuthorizedKeysFile=/etc/ssh/authorized_keys"'
    (node.folder / "inventory.json").write_text(json.dumps({"all": {"hosts": {"db": {
        "ansible_user": "root", "ansible_ssh_private_key_file": str(key), "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_common_args": f"{proxy} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
    }}}}))


def tearDownModule():
    rig.docker("rm", "--force", HOST, check=False)
    node.remove()


def ansible(*options):
    args = {"container": node.name, "tag": "good", "backup_dir": f"{node.folder}/backup", "state_dir": f"{node.folder}/state"}
    environment = {
        **os.environ, "ANSIBLE_LIBRARY": f"{node.folder}/library", "ANSIBLE_SSH_CONTROL_PATH_DIR": f"{node.folder}/cp",
        "ANSIBLE_LOCAL_TEMP": f"{node.folder}/tmp",
    }
    command = ["ansible", "db", "-i", f"{node.folder}/inventory.json", "-m", "cassandra_restore", "-a", json.dumps(args)]
    return subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def running():
    """The run that is at work; asked again where the container goes or comes just then."""
    while "running" not in (result := node.run_module("cassandra_backup_info")):
        pass
    return result["running"]


class Cut(unittest.TestCase):
    def is_finished_by_the_next_run(self):
        rig.wait_until("the run has ended", lambda: not running())
        result = node.restore(tag="good")
        self.assertFalse(result.get("failed"), result)
        node.wait_for_clients()
        self.assertEqual((node.words(), node.restart_policy()), ({"archived": 200}, "unless-stopped"))
        result = node.restore(state="rolled_back")
        self.assertFalse(result.get("failed"), result)
        node.wait_for_clients()
        self.assertEqual((node.words(), node.host_id()), ({"previous": 300}, self.host_id))

    def setUp(self):
        self.host_id = node.host_id()

    def test_a_time_that_async_allows_is_over(self):
        said, _ = ansible("-B", "8", "-P", "1").communicate(timeout=rig.PATIENCE)
        self.assertRegex(said, "Timeout exceeded|did not complete within the requested time")
        self.is_finished_by_the_next_run()

    def test_a_connection_that_is_cut(self):
        for stage in ["stop", "start"]:
            with self.subTest(stage):
                cut = ansible()
                rig.wait_until(f"stage {stage}", lambda stage=stage: (running() or {}).get("stage") == stage)
                rig.docker("exec", HOST, "pkill", "--full", "^sshd: root@pts")
                said, _ = cut.communicate(timeout=rig.PATIENCE)
                self.assertIn("UNREACHABLE", said)
                rig.wait_until("the run has ended", lambda: not running())
                # SIGHUP: it has put the previous data back by itself.
                node.wait_for_clients()
                self.assertEqual(node.words(), {"previous": 300})
                self.is_finished_by_the_next_run()


if __name__ == "__main__":
    unittest.main()
