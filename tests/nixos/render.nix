# config -> { "x.service" = text; }: the unit files, as NixOS writes them
{ lib, pkgs }: config:
let
  value = v: if builtins.isBool v then lib.boolToString v else toString v;
  line = k: v: lib.concatMapStrings (x: "${k}=${value x}\n") (lib.toList v);
  section = name: s: lib.optionalString (s != { }) "[${name}]\n${lib.concatStrings (lib.mapAttrsToList line s)}\n";
  unlessEmpty = name: l: lib.optionalAttrs (l != [ ]) { ${name} = toString l; };

  head = u: section "Unit" (
    lib.optionalAttrs (u.description != "") { Description = u.description; }
    // unlessEmpty "After" u.after // unlessEmpty "Before" u.before // unlessEmpty "Wants" u.wants
    // unlessEmpty "Requires" u.requires // unlessEmpty "Requisite" u.requisite // unlessEmpty "BindsTo" u.bindsTo
    // unlessEmpty "PartOf" u.partOf // unlessEmpty "Conflicts" u.conflicts // unlessEmpty "OnFailure" u.onFailure
    // unlessEmpty "Documentation" u.documentation
    // lib.optionalAttrs (u.startLimitBurst != null) { StartLimitBurst = u.startLimitBurst; }
    // lib.optionalAttrs (u.startLimitIntervalSec != null) { StartLimitIntervalSec = u.startLimitIntervalSec; }
    // u.unitConfig);

  script = name: key: text: lib.optionalAttrs (text != "") { ${key} = "${pkgs.writeShellScript name text}"; };
  scripts = n: u:
    script "${n}-start" "ExecStart" u.script // script "${n}-pre-start" "ExecStartPre" u.preStart
    // script "${n}-post-start" "ExecStartPost" u.postStart // script "${n}-pre-stop" "ExecStop" u.preStop
    // script "${n}-post-stop" "ExecStopPost" u.postStop // script "${n}-reload" "ExecReload" u.reload;

  environment = u: let
    path = lib.optionalAttrs (u.path != [ ]) { PATH = lib.makeBinPath u.path; };
    set = lib.filterAttrs (_: v: v != null) (path // u.environment);
  in lib.optionalAttrs (set != { }) { Environment = lib.mapAttrsToList (k: v: "\"${k}=${toString v}\"") set; };

  service = n: u: head u + section "Service" (environment u // scripts n u // u.serviceConfig);
  listening = u: lib.optionalAttrs (u.listenStreams != [ ]) { ListenStream = u.listenStreams; };

  all = suffix: render: units: lib.mapAttrs'
    (n: u: lib.nameValuePair "${n}.${suffix}" (render n u))
    (lib.filterAttrs (_: u: u.enable) units);
in
all "service" service config.systemd.services
// all "timer" (_: u: head u + section "Timer" u.timerConfig) config.systemd.timers
// all "socket" (_: u: head u + section "Socket" (listening u // u.socketConfig)) config.systemd.sockets
// all "path" (_: u: head u + section "Path" u.pathConfig) config.systemd.paths
// all "slice" (_: u: head u + section "Slice" u.sliceConfig) config.systemd.slices
// all "target" (_: head) config.systemd.targets
