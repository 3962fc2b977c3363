package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/link/mux"
	"noid/internal/link/wire"
)

const (
	qemuBinary = "qemu-system-x86_64"
	qmpSocket  = "qmp.sock"
	portSocket = "agent.sock"
)

// qemu drives QEMU by QMP, https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html. Guest memory is a shared file,
// which x-ignore-shared leaves out of the migration stream: a snapshot is the stream and a clone of that file.
type qemu struct{}

func (v *bare) qemuArgs() []string {
	mem := fmt.Sprintf("%dM", v.memMiB)
	accel, cpu := "tcg", "max,erms=off,fsrm=off"
	if v.x.where == "lab" {
		accel, cpu = "kvm", "host"
	}
	args := []string{
		"-machine", "q35,sata=off,smbus=off,usb=off,graphics=off,vmport=off,i8042=off,memory-backend=mem", "-accel", accel, "-cpu", cpu,
		"-smp", "1", "-m", mem, "-object", "memory-backend-file,id=mem,size=" + mem + ",mem-path=" + memoryFile + ",share=on",
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-chardev", "stdio,id=serial0,signal=off", "-serial", "chardev:serial0",
		"-chardev", "socket,id=qmp,path=" + qmpSocket + ",server=on,wait=off", "-mon", "chardev=qmp,mode=control",
		"-blockdev", "driver=file,node-name=f0,filename=" + diskFile, "-blockdev", "driver=raw,node-name=d0,file=f0",
		"-device", "virtio-blk-pci,drive=d0", "-device", "virtio-rng-pci",
		"-device", "virtio-serial-pci,max_ports=2", "-chardev", "socket,id=agent,path=" + portSocket + ",server=on,wait=off",
		"-device", "virtserialport,chardev=agent,name=" + wire.PortName,
	}
	if v.slirp {
		args = append(args, "-netdev", "user,id=net,net=10.63.0.0/24,host="+hostAddress, "-device", "virtio-net-pci,netdev=net,romfile=")
	}
	if !v.x.linux {
		return append(args, "-kernel", v.x.b.guest.tiny)
	}
	return append(args, "-kernel", v.x.b.guest.kernel, "-initrd", v.x.b.guest.initrd, "-append",
		"console=ttyS0 reboot=t panic=-1 quiet loglevel=1 printk.time=1 mitigations=off audit=0 random.trust_cpu=on root=/dev/vda rw")
}

func (qemu) start(v *bare) error {
	if err := v.spawn(qemuBinary, v.qemuArgs()...); err != nil {
		return err
	}
	q, err := openQMP(v)
	if err != nil {
		return err
	}
	return q.Close()
}

func (qemu) load(v *bare, snap string) error {
	if err := reflink(v.x.ctx, filepath.Join(v.dir, memoryFile), filepath.Join(snap, savedMem)); err != nil {
		return err
	}
	if err := v.spawn(qemuBinary, append(v.qemuArgs(), "-incoming", "defer", "-S")...); err != nil {
		return err
	}
	state, err := os.Open(filepath.Join(snap, savedState))
	if err != nil {
		return err
	}
	defer state.Close()
	q, err := openQMP(v)
	if err != nil {
		return err
	}
	defer q.Close()
	if err := q.stream(state); err != nil {
		return err
	}
	if err := q.do("migrate-incoming", object{"uri": "fd:state"}, nil); err != nil {
		return err
	}
	for {
		var status struct{ Status string }
		if err := q.do("query-status", nil, &status); err != nil {
			return err
		}
		if status.Status != "inmigrate" {
			return q.do("cont", nil, nil)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// save writes memory and disk back before the pause, or the guest would wait for it.
func (qemu) save(v *bare, snap string) error {
	for _, name := range []string{memoryFile, diskFile} {
		if err := fsync(filepath.Join(v.dir, name)); err != nil {
			return err
		}
	}
	state, err := os.Create(filepath.Join(snap, savedState))
	if err != nil {
		return err
	}
	defer state.Close()
	q, err := openQMP(v)
	if err != nil {
		return err
	}
	defer q.Close()
	if err := q.do("stop", nil, nil); err != nil {
		return err
	}
	if err := q.stream(state); err != nil {
		return err
	}
	if err := q.do("migrate", object{"uri": "fd:state"}, nil); err != nil {
		return err
	}
	for {
		var status struct{ Status string }
		if err := q.do("query-migrate", nil, &status); err != nil {
			return err
		}
		if status.Status == "completed" {
			break
		}
		if status.Status == "failed" {
			return errors.New("the migration failed")
		}
		time.Sleep(2 * time.Millisecond)
	}
	if err := reflink(v.x.ctx, filepath.Join(snap, savedMem), filepath.Join(v.dir, memoryFile)); err != nil {
		return err
	}
	if err := v.cloneDisk(snap); err != nil {
		return err
	}
	return q.do("cont", nil, nil)
}

func (q qemu) full(v *bare, snap string) error { return q.save(v, snap) }

// agent resynchronises with the guest on its virtio-serial port and opens a stream.
func (qemu) agent(ctx context.Context, v *bare) (net.Conn, func(), error) {
	port, err := dialUnix(ctx, filepath.Join(v.dir, portSocket))
	if err != nil {
		return nil, nil, err
	}
	session, err := mux.Connect(ctx, port)
	if err != nil {
		return nil, nil, err
	}
	conn, err := session.Open()
	if err != nil {
		session.Close()
		return nil, nil, err
	}
	s := stream{conn, session}
	return s, func() { s.Close() }, nil
}

// stream is the one stream of a session. With it the port is free: QEMU serves one connection at a time, and lets one
// more wait, so whoever tries again after an answer that was late would find it taken for good.
type stream struct {
	net.Conn
	session *mux.Session
}

func (s stream) Close() error { return errors.Join(s.Conn.Close(), s.session.Close()) }

func fsync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// qmp is a connection to QEMU's monitor.
type qmp struct {
	*net.UnixConn
	in *json.Decoder
}

func openQMP(v *bare) (*qmp, error) {
	conn, err := v.dial(qmpSocket)
	if err != nil {
		return nil, err
	}
	q := &qmp{conn.(*net.UnixConn), json.NewDecoder(conn)}
	q.SetDeadline(time.Now().Add(2 * time.Minute))
	var greeting object
	if err := q.in.Decode(&greeting); err != nil {
		q.Close()
		return nil, err
	}
	if err := q.do("qmp_capabilities", nil, nil); err != nil {
		q.Close()
		return nil, err
	}
	return q, nil
}

// do executes a command and decodes what it returns.
func (q *qmp) do(command string, arguments object, into any) error {
	return q.doWith(command, arguments, into, nil)
}

func (q *qmp) doWith(command string, arguments object, into any, oob []byte) error {
	request := object{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	data, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if _, _, err := q.WriteMsgUnix(append(data, '\n'), oob, nil); err != nil {
		return err
	}
	for {
		var answer struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := q.in.Decode(&answer); err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		switch {
		case answer.Error != nil:
			return fmt.Errorf("%s: %s", command, answer.Error.Desc)
		case answer.Return == nil: // an event
		case into == nil:
			return nil
		default:
			return json.Unmarshal(answer.Return, into)
		}
	}
}

// stream gives QEMU a file as the stream of the coming migration, which leaves shared memory out.
func (q *qmp) stream(f *os.File) error {
	capability := []object{{"capability": "x-ignore-shared", "state": true}}
	if err := q.do("migrate-set-capabilities", object{"capabilities": capability}, nil); err != nil {
		return err
	}
	return q.doWith("getfd", object{"fdname": "state"}, nil, unix.UnixRights(int(f.Fd())))
}
