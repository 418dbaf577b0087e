# What a power failure, or the end of everything that could have taken an activation back, leaves to the next boot.
#
# An action that activates a NixOS system leaves links below `pending` until it is confirmed or taken back. Where they
# are found at a boot it was neither: the system before is activated again if the other one runs, and made the boot
# default again if the other one is. Going back is always safe: it ran, and it was the default. No Python is needed.
#
# The unit itself may only ask systemd, and remove the links. What it asks for runs in transient units with the rights
# that activating takes: the same as in ai_sysadmin/actions/ladder.py, which a test compares.
{ coreutils, nix, systemd }:
let
  pending = "/nix/var/nix/gcroots/ai-sysadmin/pending";
  profile = "/nix/var/nix/profiles/system";
  test = "${coreutils}/bin/test";
  switch = "${pending}/previous/bin/switch-to-configuration";

  always = [
    "Type=oneshot"
    "Slice=ai-sysadmin.slice"
    "NoNewPrivileges=yes"
    "LockPersonality=yes"
    "RestrictRealtime=yes"
    "RestrictNamespaces=yes"
    "SystemCallArchitectures=native"
    "SystemCallErrorNumber=EPERM"
    "RestrictAddressFamilies=AF_UNIX"
    "PrivateNetwork=yes"
    "IPAddressDeny=any"
    "KeyringMode=private"
    "ProtectClock=yes"
    "ProtectControlGroups=yes"
    "ProtectKernelLogs=yes"
    "ProtectKernelModules=yes"
  ];
  activation = always ++ [
    "DevicePolicy=closed"
    "SystemCallFilter=~@clock @cpu-emulation @debug @module @obsolete @raw-io @reboot"
    ("CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID"
      + " CAP_LINUX_IMMUTABLE CAP_SETFCAP CAP_SETGID CAP_SETUID CAP_SYS_ADMIN")
  ];
  booting = always ++ [
    "PrivateTmp=yes"
    "ProtectHome=yes"
    "ProtectHostname=yes"
    "RestrictSUIDSGID=yes"
    "SystemCallFilter=~@clock @cpu-emulation @debug @module @obsolete @raw-io @reboot @swap"
    "CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_LINUX_IMMUTABLE CAP_SYS_ADMIN"
    "Environment=NIX_REMOTE=daemon HOME=/var/empty"
  ];

  # nothing in these holds a quote, a dollar or a percent sign
  quoted = text: "\"${text}\"";
  ask = name: properties: how: builtins.concatStringsSep " " (
    [ "${systemd}/bin/systemd-run" "--unit=${name}" "--collect" "--quiet" ]
    ++ map (each: quoted "--property=${each}") (properties ++ [ "TimeoutStartSec=300" "SuccessExitStatus=4" ])
    ++ [ "--" switch how ]
  );
in
{
  inherit activation booting;

  services.ai-sysadmin-recover = {
    description = "AI sysadmin: take back an activation that was never confirmed";
    wantedBy = [ "multi-user.target" ];
    after = [ "local-fs.target" "dbus.socket" "systemd-logind.service" "nix-daemon.socket" ];
    unitConfig = {
      ConditionPathIsSymbolicLink = "${pending}/activated";
      # a switch starts the targets anew, and with them what they want: an activation of this boot is not over yet
      ConditionPathExists = "!/run/ai-sysadmin-activation";
      # it runs a switch: which must not stop it, nor where the other system has no such unit
      X-StopOnRemoval = false;
    };
    restartIfChanged = false;
    # somebody else's switch may hold the lock
    startLimitIntervalSec = 0;
    serviceConfig = {
      Type = "oneshot";
      ExecStart = [
        (ask "ai-sysadmin-recover-running" (activation ++ [
          "ExecCondition=${test} /run/current-system -ef ${pending}/activated"
        ]) "test")
        "${test} ! /run/current-system -ef ${pending}/activated"
        (ask "ai-sysadmin-recover-default" (booting ++ [
          "ExecCondition=${test} ${profile} -ef ${pending}/activated"
          "ExecStartPre=${nix}/bin/nix-env --profile ${profile} --set ${pending}/previous"
        ]) "boot")
        "${test} ! ${profile} -ef ${pending}/activated"
        "${coreutils}/bin/rm -f ${pending}/activated"
        "${coreutils}/bin/rm -f ${pending}/previous"
      ];
      TimeoutStartSec = 660;
      Restart = "on-failure";
      RestartSec = 30;
      Slice = "ai-sysadmin.slice";
      AmbientCapabilities = "";
      CapabilityBoundingSet = "";
      DevicePolicy = "closed";
      IPAddressDeny = "any";
      KeyringMode = "private";
      LockPersonality = true;
      MemoryDenyWriteExecute = true;
      NoNewPrivileges = true;
      PrivateDevices = true;
      PrivateMounts = true;
      PrivateNetwork = true;
      PrivateTmp = true;
      ProtectClock = true;
      ProtectControlGroups = true;
      ProtectHome = true;
      ProtectHostname = true;
      ProtectKernelLogs = true;
      ProtectKernelModules = true;
      ProtectKernelTunables = true;
      ProtectProc = "invisible";
      ProtectSystem = "strict";
      ReadWritePaths = [ "/nix/var/nix/gcroots" ];
      RemoveIPC = true;
      RestrictAddressFamilies = [ "AF_UNIX" ];
      RestrictNamespaces = true;
      RestrictRealtime = true;
      RestrictSUIDSGID = true;
      SystemCallArchitectures = "native";
      SystemCallErrorNumber = "EPERM";
      SystemCallFilter = [ "@system-service" "~@privileged @resources" "prlimit64" ];
      UMask = "0077";
    };
  };
}
